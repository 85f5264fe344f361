'use strict'
// One process = one JavaScript peer. `node peer.js '{"kind":…,"network":…,"seed":…,"path":…}'`
//
// Commands come in as JSON lines on stdin: {"n": 1, "cmd": "call", "timeout": 10000, …}. Each gets exactly one
// answer: {"n": 1, "ok": true, "result": …} or {"n": 1, "ok": false, "error": {"name", "message"}}. Whatever happens
// in between is told by lines {"event": …}. The end of stdin ends the process.

const net = require('net')
const readline = require('readline')
const cat = require('pull-cat')
const pull = require('pull-stream')
const testApi = require('./test_api')
const { KINDS, build, idOf } = require('./stacks')

const options = { host: '127.0.0.1', port: 0, ...JSON.parse(process.argv[2]) }
const sessions = [] // every muxrpc session ever seen, oldest first: {rpc, id, address, incoming}
let ssb = null

// The dialling side of a tunnel has an address which begins with `undefined`: no plugin names the stream it dials.
const throughTunnel = (address) => /^(tunnel:|undefined)/.test(String(address))
const tell = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const failed = (err) => err && err !== true // in pull streams `true` is the normal end
const describe = (err) =>
  failed(err) ? { name: err.name || 'Error', message: String(err.message ?? err) } : { name: 'End', message: 'ended' }
const maybe = (err) => (failed(err) ? describe(err) : null)

process.on('uncaughtException', (err) => {
  tell({ event: 'uncaught', ...describe(err), stack: String(err.stack) })
  process.exit(70)
})
process.on('unhandledRejection', (err) => {
  tell({ event: 'rejection', ...describe(err), stack: String(err && err.stack) })
})

// ---- what this peer sees ---------------------------------------------------------------------------------------

// The client plugins keep their lists to themselves: look over their shoulder at the very calls they make.
function spy (rpc) {
  const portal = rpc.id
  const wrapAsync = (section, name) => {
    const original = rpc[section] && rpc[section][name]
    if (!original) return
    rpc[section][name] = (...args) => {
      const cb = typeof args[args.length - 1] === 'function' ? args.pop() : () => {}
      return original(...args, (err, value) => {
        tell({ event: 'answer', peer: portal, name: `${section}.${name}`, value, error: maybe(err) })
        cb(err, value)
      })
    }
  }
  const wrapSource = (section, name, see) => {
    const original = rpc[section] && rpc[section][name]
    if (!original) return
    rpc[section][name] = (...args) =>
      pull(
        original(...args),
        pull.through(see, (err) => {
          tell({ event: 'list-ended', peer: portal, name: `${section}.${name}`, error: maybe(err) })
        })
      )
  }
  wrapAsync('room', 'metadata')
  wrapAsync('tunnel', 'isRoom')
  wrapAsync('tunnel', 'announce')
  let ids = null
  wrapSource('room', 'attendants', (ev) => {
    if (ev.type === 'state') tell({ event: 'state', portal, ids: ev.ids })
    else tell({ event: ev.type, portal, id: ev.id })
  })
  wrapSource('tunnel', 'endpoints', (list) => {
    if (!ids) tell({ event: 'state', portal, ids: list })
    else {
      for (const id of list) if (!ids.includes(id)) tell({ event: 'joined', portal, id })
      for (const id of ids) if (!list.includes(id)) tell({ event: 'left', portal, id })
    }
    ids = list
  })
}

function watch () {
  ssb.prependListener('rpc:connect', (rpc, isClient) => {
    const session = { rpc, id: rpc.id, address: rpc.stream.address, incoming: !isClient }
    sessions.push(session)
    spy(rpc)
    const what = { peer: rpc.id, address: session.address, incoming: !isClient, tunnel: throughTunnel(session.address) }
    tell({ event: 'connected', ...what })
    rpc.on('closed', () => tell({ event: 'closed', ...what }))
  })
  ssb.on('tunnel:listening', (portal) => tell({ event: 'announced', portal }))
  ssb.on('multiserver:listening', () => tell({ event: 'listening' }))
}

// ---- commands --------------------------------------------------------------------------------------------------

const keyOf = (id) => id.slice(1, -'.ed25519'.length)
const promise = (start) =>
  new Promise((resolve, reject) => start((err, value) => (failed(err) ? reject(err) : resolve(value))))

async function connect (address) {
  const rpc = await promise((done) => ssb.conn.connect(address, done))
  if (!rpc) throw new Error(`harness: conn.connect gave ${rpc}`)
  return rpc
}

// The newest open session with `peer` (an id); `incoming` picks one where both sides have dialled.
function session ({ peer, incoming }) {
  const found = sessions.filter((s) => s.id === peer && !s.rpc.closed && (incoming ?? s.incoming) === s.incoming)
  if (!found.length) throw new Error(`harness: no open session with ${peer}`)
  return found.pop()
}

const remote = (args, type) => (cb) => session(args).rpc.stream.remoteCall(type, args.name, args.args || [], cb)
const sendable = (args) => (args.sizes ? args.sizes.map((size) => testApi.content(size)) : args.items || [])

// An item {"base64": …} stands for bytes.
const revive = (items) => items.map((item) => (item && item.base64 ? Buffer.from(item.base64, 'base64') : item))

const commands = {
  id: async () => ssb ? ssb.id : idOf(options.seed),

  // {address, announce}: dials a portal (or any peer). A 2018 peer announces itself there unless announce is false.
  connect: async ({ address, announce = true }) => {
    const id = '@' + /~shs:([^:;]+)/.exec(address)[1] + '.ed25519'
    if (!ssb) start(announce ? id : undefined)
    const rpc = await connect(address)
    if (ssb.gossip.know) ssb.gossip.know(id, rpc)
    return rpc.id
  },

  // {portal, target, key, instance}: dials through the portal; `key` (base64) is the key expected at the end.
  tunnel: async ({ portal, target, key, instance }) => {
    const middle = instance === undefined ? '' : ':' + instance
    return (await connect(`tunnel:${portal}:${target}${middle}~shs:${key || keyOf(target)}`)).id
  },

  call: (args) => promise((done) => remote(args, 'async')(done)),

  // {section, name, args}: an async method of one of the peer's own plugins; for a session its id is handed back.
  plugin: async ({ section, name, args = [] }) => {
    const value = await promise((done) => ssb[section][name](...args, done))
    return value && value.stream ? value.id : value
  },

  // {keep}: hands back the first so many items (none by default). Reads to the end, or aborts after `take` items.
  source: (args) =>
    promise((done) => {
      const stages = [remote(args, 'source')()]
      if (args.take !== undefined) stages.push(pull.take(args.take))
      pull(...stages, testApi.measure(args.keep ?? 0, done))
    }),

  // {sizes} or {items}: sends them, ends (unless `hold`), and reads until the other side has ended.
  duplex: (args) =>
    promise((done) => {
      const duplex = remote(args, 'duplex')((err) => err && tell({ event: 'duplex-error', ...describe(err) }))
      const items = pull.values(revive(sendable(args)))
      const never = (abort, cb) => abort && cb(abort)
      pull(args.hold ? cat([items, never]) : items, duplex.sink)
      pull(duplex.source, testApi.measure(args.keep ?? 0, done))
    }),

  // {size, chunk}, {sizes} or {items}; the callback of a muxrpc sink tells when it has been shut down.
  sink: (args) =>
    promise((done) => {
      const items = args.size !== undefined ? testApi.chunks(args.size, args.chunk || 32768) : revive(sendable(args))
      pull(pull.values(items), remote(args, 'sink')(done))
    }),

  // {peer, how}: "disconnect" = conn.disconnect(address), what applications do; "destroy" = rpc.close(true);
  // "close" = rpc.close(cb), which first waits until every call and stream has ended.
  close: (args) =>
    promise((done) => {
      const { rpc, id } = session(args)
      if (args.how === 'destroy') return rpc.close(true, done)
      if (args.how === 'close') return rpc.close(done)
      const entry = [...ssb.conn.hub().entries()].find(([, data]) => data.key === id)
      if (!entry) return done(new Error(`harness: conn does not know ${id}`))
      ssb.conn.disconnect(entry[0], done)
    }),

  // What ssb-conn believes: [{address, key, state, type, onlineCount, …}]
  peers: async () => [...ssb.conn.hub().entries()].map(([address, data]) => ({ address, ...data })),

  memory: async () => process.memoryUsage(),

  exit: async ({ code = 1 }) => process.exit(code),

  quit: async () => {
    setImmediate(quit)
    return true
  }
}

function quit () {
  setTimeout(() => process.exit(0), 2000).unref()
  if (!ssb) process.exit(0)
  ssb.close(true, () => setTimeout(() => process.exit(0), 50))
}

async function run (line) {
  let n = null
  let timer
  try {
    const request = JSON.parse(line)
    n = request.n
    const command = commands[request.cmd]
    if (!command) throw new Error(`harness: unknown command ${request.cmd}`)
    const limit = request.timeout || 15000
    const late = new Promise((resolve, reject) => {
      const error = new Error(`harness: ${request.cmd} took over ${limit} ms`)
      error.name = 'HarnessTimeout'
      timer = setTimeout(() => reject(error), limit)
    })
    const result = await Promise.race([command(request), late])
    tell({ n, ok: true, result: result === undefined ? null : result })
  } catch (err) {
    tell({ n, ok: false, error: describe(err) })
  } finally {
    clearTimeout(timer)
  }
}

// ---- start -----------------------------------------------------------------------------------------------------

function freePort () {
  return new Promise((resolve, reject) => {
    const probe = net.createServer().on('error', reject)
    probe.listen(0, options.host, () => {
      const { port } = probe.address()
      probe.close(() => resolve(port))
    })
  })
}

function start (portal) {
  ssb = build(options, portal)
  watch()
}

async function main () {
  const kind = KINDS[options.kind]
  const listens = kind.listens || options.listen
  if (listens && !options.port) options.port = await freePort()
  testApi.observe((result) => tell({ event: 'sunk', ...result }))
  // A 2018 target must know its portal when it is built: the first `connect` tells it.
  if (options.kind !== 'tunnel-2018') start()
  const id = idOf(options.seed)
  const address = listens ? `net:${options.host}:${options.port}~shs:${keyOf(id)}` : null
  const ready = () => tell({ event: 'ready', id, address, pid: process.pid })
  if (kind.listens) ssb.once('multiserver:listening', ready)
  else setImmediate(ready)
  readline.createInterface({ input: process.stdin }).on('line', run).on('close', quit)
}

main()
