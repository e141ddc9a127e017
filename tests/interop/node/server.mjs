// smtp-server of nodemailer in a process of its own: `node server.mjs SETTINGS.json`, until SIGTERM.
//
// The settings name the folder that holds the modules, the certificate's files, the users, the mailboxes, and the file
// into which the ports go once all of them listen.

import { createHmac, timingSafeEqual } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const settings = JSON.parse(await readFile(process.argv[2], 'utf8'));
const { SMTPServer } = createRequire(join(settings.modules, 'package.json'))('smtp-server');
const passwords = new Map(settings.users);
const certificate = { key: await readFile(settings.key), cert: await readFile(settings.chain) };
const tokenKey = Buffer.from(settings.token_key, 'hex');
let serial = 0;

/** An error that becomes this reply. */
function refusal(responseCode, text) {
    return Object.assign(new Error(text), { responseCode });
}

/** The mailbox that the address belongs to; undefined: nobody knows it. */
function mailboxOf(address) {
    const [name, domain] = address.split('@');
    const known = settings.mailboxes.includes(name) || name === settings.full;
    return known && domain === settings.domain ? name : undefined;
}

async function deliver(mailbox, content) {
    // A maildir's rule: whoever looks into `new` never sees half a message.
    const folder = join(settings.mail_folder, mailbox);
    const name = String(++serial).padStart(6, '0');
    await writeFile(join(folder, name), content);
    await rename(join(folder, name), join(folder, 'new', name));
}

/** Deliver to each of the recipients: the reply for each, in their order. */
async function deliverToEach(recipients, content) {
    const replies = [];
    for (const { address } of recipients) {
        const mailbox = mailboxOf(address);
        if (mailbox === settings.full && content.length > settings.full_octets) {
            replies.push(refusal(552, `<${address}> has no room for it`));
        } else {
            await deliver(mailbox, content);
            replies.push(`<${address}> has it`);
        }
    }
    return replies;
}

/** Write down what the sender wants to hear of the delivery; nobody here tells it to him. */
function note({ dsn, rcptTo }) {
    const recipients = rcptTo.filter(each => each.dsn).map(each => ({ address: each.address, ...each.dsn }));
    if (dsn.ret || dsn.envid || recipients.length) {
        console.log(JSON.stringify({ ...dsn, recipients }));
    }
}

/** Whom a token is for: a JSON Web Token (RFC 7519) signed with our key; undefined: it is not good, or no more. */
function ownerOf(token) {
    const [head, claims, signature] = token.split('.');
    const wanted = createHmac('sha256', tokenKey).update(`${head}.${claims}`).digest();
    const given = Buffer.from(signature ?? '', 'base64url');
    if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) {
        return undefined;
    }
    const { sub, exp } = JSON.parse(Buffer.from(claims, 'base64url').toString());
    return exp > Date.now() / 1000 ? sub : undefined;
}

function isRight({ method, username, password, accessToken, validatePassword }) {
    if (method === 'XOAUTH2') {
        return ownerOf(accessToken) === username;
    }
    const wanted = passwords.get(username);
    return wanted !== undefined && (method === 'CRAM-MD5' ? validatePassword(wanted) : password === wanted);
}

const options = {
    ...certificate,
    name: 'mail.example.test',
    disableReverseLookup: true,
    size: settings.size,
    rejectOversized: true,
    hideENHANCEDSTATUSCODES: false,
    hideDSN: false,
    hideREQUIRETLS: false,
    authMethods: ['PLAIN', 'LOGIN', 'CRAM-MD5', 'XOAUTH2'],

    onAuth(auth, session, callback) {
        callback(null, isRight(auth) ? { user: auth.username } : { data: { status: '401', schemes: 'bearer' } });
    },

    onRcptTo({ address }, session, callback) {
        callback(mailboxOf(address) === undefined ? refusal(550, `<${address}>: no such mailbox here`) : null);
    },

    onData(stream, session, callback) {
        const pieces = [];
        stream.on('data', piece => pieces.push(piece));
        // Whoever is gone in the middle of a message is nobody's business.
        stream.on('error', () => undefined);
        stream.on('end', () => {
            if (stream.sizeExceeded) {
                // It has the reply already.
                callback();
                return;
            }
            note(session.envelope);
            deliverToEach(session.envelope.rcptTo, Buffer.concat(pieces)).then(
                replies => callback(null, this.lmtp ? replies : 'delivered'),
                error => callback(error)
            );
        });
    }
};

const withoutAuth = { disabledCommands: ['AUTH'] };
const roles = {
    plain: withoutAuth,
    submission: {},
    smtps: { secure: true },
    large: { ...withoutAuth, size: settings.large_size },
    idle: { ...withoutAuth, socketTimeout: 1000 * settings.idle_seconds },
    lmtp: { ...withoutAuth, lmtp: true, size: settings.large_size },
    lmtps: { ...withoutAuth, lmtp: true, size: settings.large_size, secure: true }
};

for (const mailbox of [...settings.mailboxes, settings.full]) {
    await mkdir(join(settings.mail_folder, mailbox, 'new'), { recursive: true });
}

const ports = {};
for (const [role, differs] of Object.entries(roles)) {
    const chosen = { ...options, ...differs };
    const server = new SMTPServer({ ...chosen, onData: options.onData.bind(chosen) });
    server.on('error', error => console.error(`${role}: ${error.message}`));
    await new Promise(resolve => server.listen(0, settings.host, resolve));
    ports[role] = server.server.address().port;
}

process.on('SIGTERM', () => process.exit(0));
// It is whole as soon as it is there.
await writeFile(`${settings.ready}.unfinished`, JSON.stringify(ports));
await rename(`${settings.ready}.unfinished`, settings.ready);
