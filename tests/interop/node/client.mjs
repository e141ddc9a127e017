// nodemailer in a process of its own: `node client.mjs SETTINGS.json` sends a message, or many of them.
//
// The settings name the folder that holds the modules, where to send to, how to come in, as whom, and the file; and
// with `messages` how often it is sent, each time behind a field with its number, through a pool of `connections`.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const settings = JSON.parse(await readFile(process.argv[2], 'utf8'));
const nodemailer = createRequire(join(settings.modules, 'package.json'))('nodemailer');

/** As whom: with a token, or with a password by the mechanism that is named, if one is. */
function login({ user, secret, mechanism }) {
    if (mechanism === 'XOAUTH2') {
        return { type: 'OAuth2', user, accessToken: secret };
    }
    return { user, pass: secret, ...(mechanism && { method: mechanism }) };
}

const secured = settings.mode === 'starttls' || settings.mode === 'implicit';
const transport = nodemailer.createTransport({
    host: settings.host,
    port: settings.port,
    name: settings.hello,
    lmtp: settings.mode === 'lmtp',
    secure: settings.mode === 'implicit',
    requireTLS: settings.mode === 'starttls',
    ignoreTLS: !secured,
    tls: { ca: await readFile(settings.ca) },
    ...(secured && { auth: login(settings.login) }),
    ...(settings.messages && { pool: true, maxConnections: settings.connections, maxMessages: Infinity })
});
const envelope = { from: settings.sender, to: settings.recipients, use8BitMime: true };
const content = await readFile(settings.file);
const numbered = number => Buffer.concat([Buffer.from(`X-Number: ${number}\r\n`), content]);
const contents = settings.messages ? Array.from({ length: settings.messages }, (_, at) => numbered(at)) : [content];
const sent = await Promise.all(contents.map(raw => transport.sendMail({ envelope, raw })));
transport.close();
const rejected = sent.flatMap(each => each.rejected);
if (rejected.length) {
    throw new Error(`refused: ${rejected}`);
}
