"""The I/O for smtpproto: blocking sockets, asyncio and trio."""
