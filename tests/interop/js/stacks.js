'use strict'
// Builds one real JavaScript peer or portal of the generation asked for, out of unmodified npm packages.
//
// kind                  stack         plugins
// room-client-2/stack6  6.4           ssb-conn, ssb-room-client 2
// room-client-2/stack8  8.1           the same, with the configuration re-shaped (see `forStack8`)
// room-client-2/ws      6.4           ssb-conn, ssb-room-client 2, ssb-ws: dials WebSockets, too
// room-client-2/web     6.4           ssb-conn, ssb-room-client 2, ssb-http-invite-client, ssb-http-auth-client
// rooms-1               6.4           ssb-conn, ssb-room 1.3 `tunnel/client`
// tunnel-2018           6.4           ssb-conn (ping only), ssb-tunnel 2.0
// portal                6.3 (its own) ssb-conn, ssb-room 1.3 `tunnel/server`, `invite`, `ssb-shims` (no web pages)
// portal-2018           6.4           ssb-conn (ping only), ssb-tunnel 2.0

const path = require('path')
const ssbKeys = require('ssb-keys')
const testApi = require('./test_api')

const ROOM_DIR = path.dirname(require.resolve('ssb-room/package.json'))

const KINDS = {
  'room-client-2/stack6': { stack: 'secret-stack', plugins: () => [require('ssb-conn'), require('ssb-room-client')] },
  'room-client-2/stack8': { stack: 'secret-stack-8', plugins: () => [require('ssb-conn'), require('ssb-room-client')] },
  'room-client-2/ws': {
    stack: 'secret-stack',
    plugins: () => [require('ssb-ws'), require('ssb-conn'), require('ssb-room-client')]
  },
  'room-client-2/web': {
    stack: 'secret-stack',
    plugins: () => [
      require('ssb-conn'),
      require('ssb-room-client'),
      require('ssb-http-invite-client'),
      require('ssb-http-auth-client')
    ]
  },
  'rooms-1': { stack: 'secret-stack', plugins: () => [require('ssb-conn'), require('ssb-room/tunnel/client')] },
  'tunnel-2018': { stack: 'secret-stack', plugins: () => [require('ssb-conn'), require('ssb-tunnel')] },
  portal: {
    stack: require.resolve('secret-stack', { paths: [ROOM_DIR] }),
    listens: true,
    plugins: () => [
      require('ssb-conn'),
      require('ssb-room/invite'),
      require('ssb-room/tunnel/server'),
      require('ssb-room/ssb-shims')
    ]
  },
  'portal-2018': {
    stack: 'secret-stack',
    listens: true,
    plugins: () => [require('ssb-conn'), require('ssb-tunnel')]
  }
}

// secret-stack 8 hands a plugin only its own section of the configuration; ssb-conn 6 and ssb-room-client 2 expect all.
function forStack8 (plugin) {
  if (Array.isArray(plugin)) return plugin.map(forStack8)
  return {
    name: plugin.name,
    version: plugin.version,
    manifest: plugin.manifest,
    permissions: plugin.permissions,
    init: (api, config, permissions, manifest) => plugin.init(api, config.global, permissions, manifest)
  }
}

function connections (options, listens, portal) {
  const incoming = {}
  const outgoing = { net: [{ transform: 'shs' }] }
  if (options.kind.endsWith('/ws')) outgoing.ws = [{ transform: 'shs' }]
  if (listens) {
    incoming.net = [{ scope: 'public', transform: 'shs', host: options.host, port: options.port }]
  }
  if (!KINDS[options.kind].listens) {
    outgoing.tunnel = [{ transform: 'shs' }]
    const wanted = options.kind !== 'tunnel-2018' || portal
    if (wanted) incoming.tunnel = [{ scope: 'public', transform: 'shs', ...(portal ? { portal } : null) }]
  }
  return { incoming, outgoing }
}

// options: kind, network (base64), seed (base64), host, port, listen, path (directory), timers
// portal:  feed id of the portal where a 2018 peer announces itself; undefined = it only calls
function build (options, portal) {
  const kind = KINDS[options.kind]
  const is8 = kind.stack === 'secret-stack-8'
  const common = {
    caps: { shs: options.network },
    keys: ssbKeys.generate('ed25519', Buffer.from(options.seed, 'base64')),
    path: options.path,
    timers: { inactivity: 600e3, handshake: 15e3, ...options.timers },
    conn: { autostart: false },
    connections: connections(options, kind.listens || options.listen, portal)
  }
  const create = require(kind.stack)()
  for (const plugin of [...kind.plugins().flat(), testApi]) create.use(is8 ? forStack8(plugin) : plugin)
  const ssb = create(is8 ? { global: common } : common)
  if (options.kind.endsWith('2018')) addGossip(ssb)
  return ssb
}

// ssb-tunnel dials by `gossip.connect(FEED ID)`; the address book of ssb-gossip is not needed for that. A portal whose
// session is not there yet is waited for, so that the order of commands does not matter.
function addGossip (ssb) {
  const known = new Map()
  const waiting = new Map()
  ssb.gossip.know = (id, rpc) => {
    known.set(id, rpc)
    for (const cb of waiting.get(id) || []) cb(null, rpc)
    waiting.delete(id)
  }
  ssb.gossip.connect = (id, cb) => {
    const rpc = known.get(id)
    if (rpc && !rpc.closed) cb(null, rpc)
    else waiting.set(id, [...(waiting.get(id) || []), cb])
  }
}

module.exports = { KINDS, build, idOf: (seed) => ssbKeys.generate('ed25519', Buffer.from(seed, 'base64')).id }
