'use strict'
// The methods which every peer of the harness serves to anybody, and the bytes they send.

const crypto = require('crypto')
const pull = require('pull-stream')

const observers = []

// Deterministic content: a prefix of one SHAKE-128 stream, so that Python makes the same with hashlib.
function content (size) {
  if (size === 0) return Buffer.alloc(0)
  return crypto.createHash('shake128', { outputLength: size }).update('ssbfast interop').digest()
}

function chunks (size, chunk) {
  const all = content(size)
  const out = []
  for (let at = 0; at < size; at += chunk) out.push(all.subarray(at, at + chunk))
  return out
}

// Drains `source` and reports what was in it: count, bytes, sha256 over all byte items, the first `keep` items, error.
function measure (keep, done) {
  const hash = crypto.createHash('sha256')
  const result = { count: 0, bytes: 0, items: [] }
  return pull.drain(
    (item) => {
      result.count += 1
      if (Buffer.isBuffer(item)) {
        result.bytes += item.length
        hash.update(item)
        if (result.items.length < keep) result.items.push({ base64: item.toString('base64') })
      } else if (result.items.length < keep) result.items.push(item)
    },
    (err) => done(err, { ...result, sha256: hash.digest('hex') })
  )
}

module.exports = {
  name: 'test',
  version: '1.0.0',
  content,
  chunks,
  measure,
  observe: (fn) => observers.push(fn),
  manifest: {
    add: 'async',
    fail: 'async',
    hang: 'async',
    count: 'source',
    bytes: 'source',
    stall: 'source',
    failAfter: 'source',
    echo: 'duplex',
    sink: 'sink'
  },
  permissions: {
    anonymous: { allow: ['add', 'fail', 'hang', 'count', 'bytes', 'stall', 'failAfter', 'echo', 'sink'] }
  },
  init () {
    return {
      add: (a, b, cb) => cb(null, a + b),
      fail: (message, cb) => cb(new Error(message)),
      hang: () => {},
      count: (n) => pull.count(n - 1),
      bytes: (size, chunk) => pull.values(chunks(size, chunk || 32768)),
      // one item, then silence: the stream stays open
      stall: () => {
        let sent = false
        return (abort, cb) => {
          if (abort) return cb(abort)
          if (!sent) {
            sent = true
            cb(null, 'stalled')
          }
        }
      },
      failAfter: (n, message) => {
        let i = 0
        return (abort, cb) => (abort ? cb(abort) : i < n ? cb(null, i++) : cb(new Error(message)))
      },
      echo: () => {
        const waiting = []
        let queue = []
        let ended = null
        const next = () => {
          while (waiting.length && queue.length) waiting.shift()(null, queue.shift())
          while (waiting.length && ended) waiting.shift()(ended)
        }
        return {
          source: (abort, cb) => {
            if (abort) {
              ended = ended || abort
              queue = []
            }
            waiting.push(cb)
            next()
          },
          sink: pull.drain(
            (item) => {
              queue.push(item)
              next()
            },
            (err) => {
              ended = err || true
              next()
            }
          )
        }
      },
      sink: () =>
        measure(0, (err, result) => {
          for (const fn of observers) fn({ ...result, error: err && err !== true ? err.message : null })
        })
    }
  }
}
