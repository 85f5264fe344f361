'use strict'
// Follows SIP 5 (HTTP invites), SIP 6 (HTTP authentication) and SIP 7 (rooms 2) step by step, as a client that was
// written from them alone would: on ssb-keys, Node's http and a plain secret-stack. It knows nothing of any server.
//
// node web_checker.js '{"invites": [URL, URL, URL], "network": BASE64, "path": DIRECTORY}'
//
// Prints one JSON line for each step: {"step", "ok", "saw"}. The exit code is 0 when all are ok.

const crypto = require('crypto')
const http = require('http')
const https = require('https')
const path = require('path')
const ssbKeys = require('ssb-keys')

const options = JSON.parse(process.argv[2])
let failures = 0

function step (name, ok, saw) {
  if (!ok) failures++
  process.stdout.write(JSON.stringify({ step: name, ok: Boolean(ok), saw }) + '\n')
}

function request (url, { method = 'GET', headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const sent = (url.startsWith('https:') ? https : http).request(url, { method, headers }, (answer) => {
      const parts = []
      answer.on('data', (part) => parts.push(part))
      answer.on('end', () => {
        const text = Buffer.concat(parts).toString()
        let json
        try { json = JSON.parse(text) } catch (_) {}
        resolve({ status: answer.statusCode, headers: answer.headers, text, json })
      })
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

const unescape = (text) => text.replace(/&#39;/g, "'").replace(/&quot;/g, '"').replace(/&lt;/g, '<').replace(/&amp;/g, '&')
const hrefs = (html) => [...html.matchAll(/href="([^"]*)"/g)].map((found) => unescape(found[1]))
const uriOf = (html, action) => hrefs(html).find((uri) => uri.startsWith('ssb:experimental?') && uri.includes(`action=${action}`))
const isJson = (answer) => /^application\/json\b/.test(answer.headers['content-type'] || '')
const is2xx = (answer) => answer.status >= 200 && answer.status < 300
const cookies = (answer) => (answer.headers['set-cookie'] || []).map((one) => one.split(';')[0]).filter((one) => !one.endsWith('='))
const form = (fields) => new URLSearchParams(fields).toString()
const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' }
const call = (method, ...args) => new Promise((resolve, reject) => method(...args, (err, value) => err ? reject(err) : resolve(value)))

function stack (keys, name) {
  const ssb = require('secret-stack')()
    .use({
      name: 'httpAuth',
      version: '1.0.0',
      manifest: { requestSolution: 'async' },
      permissions: { anonymous: { allow: ['requestSolution'] } },
      init: () => ({ requestSolution: (sc, cc, cb) => ssb.answer(sc, cc, cb) })
    })({
      caps: { shs: options.network },
      keys,
      path: path.join(options.path, name),
      timers: { inactivity: 600e3, handshake: 15e3 },
      connections: { incoming: {}, outgoing: { net: [{ transform: 'shs' }] } }
    })
  ssb.answer = (sc, cc, cb) => cb(new Error('not asked for'))
  return ssb
}

// The remote side's manifest comes first: what it does not name cannot be called.
async function connect (ssb, address) {
  const rpc = await call(ssb.connect, address)
  return rpc
}

const remote = (rpc, name, ...args) => new Promise((resolve, reject) =>
  rpc.stream.remoteCall('async', name.split('.'), args, (err, value) => err ? reject(err) : resolve(value)))

// ---- SIP 5 -------------------------------------------------------------------------------------------------------

async function invites (me, other) {
  const [link, second] = options.invites
  const code = new URL(link).searchParams.get('invite')
  step('5: the link is /join?invite=CODE', new URL(link).pathname === '/join' && code, link)

  const page = await request(link)
  step('5: the page is HTML', page.status === 200 && /^text\/html/.test(page.headers['content-type']), page.status)
  const uri = uriOf(page.text, 'claim-http-invite')
  const query = uri && new URL(uri).searchParams
  step('5: it has the URI with invite and postTo', query && query.get('invite') === code && query.get('postTo'), uri)

  const wrong = new URL(link)
  wrong.searchParams.set('invite', 'A'.repeat(43))
  const unknown = await request(wrong.href)
  step('5: an unknown invite has an error page without it',
    unknown.status >= 400 && !uriOf(unknown.text, 'claim-http-invite'), unknown.status)

  const facade = await request(link + '&encoding=json')
  step('5: the JSON has status, invite and postTo',
    is2xx(facade) && isJson(facade) && facade.json.status === 'successful' && facade.json.invite === code &&
    facade.json.postTo === query.get('postTo'), facade.json)
  const failed = await request(wrong.href + '&encoding=json')
  step('5: the JSON of an unknown one has an error',
    isJson(failed) && failed.json.status !== 'successful' && typeof failed.json.error === 'string', failed.json)

  const claim = (id, invite, type = 'application/json') => request(facade.json.postTo, {
    method: 'POST', headers: { 'Content-Type': type }, body: JSON.stringify({ id, invite })
  })
  const claimed = await claim(me.id, code)
  const address = claimed.json && claimed.json.multiserverAddress
  step('5: a claim gives the address', is2xx(claimed) && isJson(claimed) && claimed.json.status === 'successful' &&
    /^net:[^~]+:\d+~shs:[A-Za-z0-9+/]{43}=$/.test(address), claimed.json)
  const again = await claim(other.id, code)
  step('5: a second claim fails with an error', is2xx(again) && isJson(again) && again.json.status !== 'successful' &&
    again.json.error, again.json)
  const nobody = await claim('@nobody', new URL(second).searchParams.get('invite'))
  step('5: an id that is none fails', isJson(nobody) && nobody.json.status !== 'successful' && nobody.json.error, nobody.json)
  const charset = await claim(other.id, new URL(second).searchParams.get('invite'), 'application/json; charset=utf-8')
  step('5: a content type may have parameters', is2xx(charset) && charset.json.status === 'successful', charset.json)
  return address
}

// ---- SIP 7 -------------------------------------------------------------------------------------------------------

async function membership (rpc) {
  const metadata = await remote(rpc, 'room.metadata')
  step('7: the claimed key has a tunnel address', metadata.membership === true, metadata)
  const wanted = ['tunnel', 'room2', 'httpInvite', 'httpAuth', 'alias']
  step('7: the features are told', wanted.every((name) => metadata.features.includes(name)), metadata.features)
}

async function aliases (me, rpc, roomId, address) {
  const alias = 'checker-1'
  const text = `=room-alias-registration:${roomId}:${me.id}:${alias}`
  const url = await remote(rpc, 'room.registerAlias', alias, ssbKeys.sign(me, text))
  step('7: registerAlias answers with a URL', typeof url === 'string' && /^https?:/.test(url), url)
  const json = await request(url + '?encoding=json')
  const said = json.json || {}
  step('7: its JSON is whole', is2xx(json) && isJson(json) && said.status === 'successful' && said.alias === alias &&
    said.userId === me.id && said.roomId === roomId && said.multiserverAddress === address, said)
  step('7: its signature is the owner\'s', ssbKeys.verify(me, said.signature, text), said.signature)
  const page = await request(url)
  const uri = uriOf(page.text, 'consume-alias')
  const query = uri ? new URL(uri).searchParams : new URLSearchParams()
  const expected = { alias, userId: me.id, roomId, multiserverAddress: address }
  step('7: its page has the URI with six keys', page.status === 200 && [...query.keys()].length === 6 &&
    Object.entries(expected).every(([key, value]) => query.get(key) === value), uri)
  step('7: the URI\'s signature is the owner\'s', ssbKeys.verify(me, query.get('signature') || '', text), query.get('signature'))
  const list = await remote(rpc, 'room.listAliases', me.id)
  step('7: listAliases names it', JSON.stringify(list) === JSON.stringify([alias]), list)
  const forged = await remote(rpc, 'room.registerAlias', 'checker-2', ssbKeys.sign(me, text)).then(() => null, (err) => err.message)
  step('7: another alias\' signature is refused', forged, forged)
  step('7: revokeAlias answers', await remote(rpc, 'room.revokeAlias', alias), null)
  const gone = await request(url + '?encoding=json')
  step('7: a revoked alias is a failure', isJson(gone) && gone.json.status !== 'successful' && gone.json.error, gone.json)
}

// ---- SIP 6 -------------------------------------------------------------------------------------------------------

const nonce = () => crypto.randomBytes(32).toString('base64')
const solution = (keys, sid, sc, cc) => ssbKeys.sign(keys, `=http-auth-sign-in:${sid}:${keys.id}:${sc}:${cc}`)

async function isIn (base, jar) {
  return (await request(base + '/logout', { headers: { Cookie: jar.join('; ') } })).status
}

async function byClient (base, me, ssb, rpc, roomId) {
  const open = (id, cc) => request(
    `${base}/login?ssb-http-auth=1&cid=${encodeURIComponent(id)}&cc=${encodeURIComponent(cc)}`)
  const cc = nonce()
  let asked
  ssb.answer = (sc, given, cb) => {
    asked = { sc, cc: given }
    cb(null, solution(me, roomId, sc, given))
  }
  const answer = await open(me.id, cc)
  step('6: the client is asked with both nonces', asked && asked.cc === cc && asked.sc.length >= 43, asked)
  step('6: its browser is signed in', answer.status === 200 && cookies(answer).length > 0, answer.status)
  step('6: the cookie holds', await isIn(base, cookies(answer)) === 200, cookies(answer).length)
  const flags = (answer.headers['set-cookie'] || []).join('\n')
  step('6: no script reads the cookie', /HttpOnly/i.test(flags), flags.replace(/=[^;]*/, '=…'))
  ssb.answer = (sc, given, cb) => cb(null, solution(ssbKeys.generate(), roomId, sc, given))
  const wrong = await open(me.id, nonce())
  step('6: a wrong solution is 403', wrong.status === 403 && cookies(wrong).length === 0, wrong.status)
  const absent = await open(ssbKeys.generate().id, nonce())
  step('6: who is not connected is 403', absent.status === 403 && cookies(absent).length === 0, absent.status)
  step('6: invalidateAllSolutions answers', await remote(rpc, 'httpAuth.invalidateAllSolutions') === true, null)
  const after = await isIn(base, cookies(answer))
  step('6: then the browser is signed out', after === 303, after)
}

async function byServer (base, me, rpc, roomId, address) {
  const page = await request(base + '/login')
  const jar = cookies(page)
  const uri = uriOf(page.text, 'start-http-auth')
  const query = uri ? new URL(uri).searchParams : new URLSearchParams()
  const sc = query.get('sc') || ''
  step('6: the page has the URI with sid and sc', query.get('sid') === roomId && sc.length >= 43, uri)
  step('6: it tells the address', query.get('multiserverAddress') === address, query.get('multiserverAddress'))
  const cc = nonce()
  const bad = await remote(rpc, 'httpAuth.sendSolution', nonce(), cc, solution(me, roomId, sc, cc))
  step('6: an unknown challenge is false', bad === false, bad)
  step('6: a right solution is true', await remote(rpc, 'httpAuth.sendSolution', sc, cc, solution(me, roomId, sc, cc)) === true, null)
  const replay = await remote(rpc, 'httpAuth.sendSolution', sc, cc, solution(me, roomId, sc, cc))
  step('6: it is taken once', replay === false, replay)
  const csrf = (/name="csrf" value="([^"]+)"/.exec(page.text) || [])[1]
  const finish = (headers) => request(base + '/login/finish', { method: 'POST', headers: { ...FORM, ...headers }, body: form({ csrf }) })
  const thief = await finish({})
  step('6: another browser is not signed in by it', thief.status === 403 && cookies(thief).length === 0, thief.status)
  const done = await finish({ Cookie: jar.join('; ') })
  step('6: the browser that began is', [200, 302, 303].includes(done.status) && await isIn(base, cookies(done)) === 200, done.status)
  const second = await request(base + '/login')
  const other = new URL(uriOf(second.text, 'start-http-auth')).searchParams.get('sc')
  const wrong = await remote(rpc, 'httpAuth.sendSolution', other, cc, solution(ssbKeys.generate(), roomId, other, cc))
  step('6: a wrong solution is false', wrong === false, wrong)
}

// ---- all of it ---------------------------------------------------------------------------------------------------

async function main () {
  const me = ssbKeys.generate()
  const base = new URL(options.invites[0]).origin
  const address = await invites(me, ssbKeys.generate())
  const roomId = '@' + address.split('~shs:')[1] + '.ed25519'
  const ssb = stack(me, 'me')
  const rpc = await connect(ssb, address)
  await membership(rpc)
  await aliases(me, rpc, roomId, address)
  await byClient(base, me, ssb, rpc, roomId)
  await byServer(base, me, rpc, roomId, address)
}

main().catch((err) => step('the checker got through', false, String(err && err.stack))).then(() => process.exit(failures ? 1 : 0))
