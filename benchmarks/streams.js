'use strict'
// Boxes as JavaScript peers make them, with the unmodified pull-box-stream on sodium-native. NODE_PATH names the
// packages. Orders and answers are those of go/main.go.

const { createHash } = require('crypto')
const readline = require('readline')
const pull = require('pull-stream')
const boxes = require('pull-box-stream')

const KEY = Buffer.from(Array.from({ length: 32 }, (_, i) => i))
const NONCE = Buffer.from(Array.from({ length: 24 }, (_, i) => 100 + i))
const tell = (line) => process.stdout.write(JSON.stringify(line) + '\n')

function through (stream, chunks) {
  let out = null
  pull(
    pull.values(chunks),
    stream,
    pull.collect((err, all) => {
      if (err) throw err
      out = all
    })
  )
  if (out === null) throw new Error('the stream is not done')
  return out
}

const seal = (bodies) => through(boxes.createBoxStream(KEY, NONCE), bodies)
const open = (reads) => through(boxes.createUnboxStream(KEY, NONCE), reads)

function reads (wire) {
  const chunks = []
  for (let at = 0; at < wire.length; at += 65536) chunks.push(wire.slice(at, at + 65536))
  return chunks
}

function carryOut (order) {
  const bodies = []
  for (let i = 0; i < order.count; i++) bodies.push(Buffer.alloc(order.sizes[i % order.sizes.length], i % 251))
  const input = order.op === 'seal' ? bodies : reads(Buffer.concat(seal(bodies)))
  const work = order.op === 'seal' ? seal : open
  let out = null
  const before = process.cpuUsage()
  const began = process.hrtime.bigint()
  for (let i = 0; i < order.passes; i++) out = work(input)
  const seconds = Number(process.hrtime.bigint() - began) / 1e9
  const { user, system } = process.cpuUsage(before)
  let whole = Buffer.concat(out)
  if (order.op === 'seal') whole = whole.slice(0, -34) // the goodbye
  const digest = createHash('sha256').update(whole).digest('hex')
  tell({ seconds: seconds / order.passes, cpu: (user + system) / 1e6 / order.passes, digest })
}

tell({ event: 'ready' })
readline.createInterface({ input: process.stdin }).on('line', (line) => carryOut(JSON.parse(line)))
