'use strict'
// A server that does nothing but shake hands, with the unmodified secret-handshake on sodium-native: one process, TCP.
// `node handshakes.js '{"network": BASE64, "seed": BASE64}'`; NODE_PATH names the packages. It says where it listens in
// one line of JSON, and ends when its standard input does.

const net = require('net')
const pull = require('pull-stream')
const createShake = require('secret-handshake')
const ssbKeys = require('ssb-keys')
const toPull = require('stream-to-pull-stream')

const options = JSON.parse(process.argv[2])
const keys = ssbKeys.generate('ed25519', Buffer.from(options.seed, 'base64'))
const bytes = (key) => Buffer.from(key.replace('.ed25519', ''), 'base64')
const shake = createShake.createServer(
  { publicKey: bytes(keys.public), secretKey: bytes(keys.private) },
  (_, cb) => cb(null, true),
  Buffer.from(options.network, 'base64'),
  15e3
)

const server = net.createServer((socket) => {
  socket.setNoDelay(true)
  socket.on('error', () => {})
  const stream = toPull.duplex(socket)
  pull(
    stream,
    shake((err, session) => {
      if (!err) pull(session.source, pull.drain(null, () => socket.destroy()))
    }),
    stream
  )
})

server.listen(0, '127.0.0.1', () => {
  const address = `net:127.0.0.1:${server.address().port}~shs:${bytes(keys.public).toString('base64')}`
  process.stdout.write(JSON.stringify({ event: 'ready', address }) + '\n')
})
process.stdin.on('end', () => process.exit(0)).resume()
