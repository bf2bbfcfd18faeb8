// The judge of the refresh tests: a certified OpenID provider with refresh token rotation and reuse detection.
//
//   node oidc.mjs PORT        PORT 0 takes a free one; prints `ready http://127.0.0.1:PORT` and serves until killed
//   AT_TTL=seconds            the life of an access token (3600)
//   ROTATE=no                 a refresh token may be used again and again (it is replaced, and reuse revokes the grant)
//   VAULT_TEST_NODE_MODULES   where `oidc-provider` is installed (./node_modules)
//
// What it grants and refuses is the provider's own doing. The paths below that begin with `_` belong to the tests: they
// create grants without a browser, script failures of the token endpoint, and tell what the provider saw.
//
//   POST /_grants  {count, client}          -> {grants: [{grant, access_token, refresh_token, expires_in}]}
//   POST /_alive   {refresh_tokens: [..]}   -> {alive: [bool]}, without consuming them
//   POST /_fault   {times, ..see Fault..}   the next requests to /token fail so; faults queue up in order
//   POST /_release                          forgets all faults and lets go of whoever is being delayed
//   GET  /_log                              -> {requests: [..one entry for each request to /token, see TokenLog..]}
//   GET  /_stats                            -> {refreshes_ok, refreshes_refused, grants_revoked}
//   GET  /_wait?arrived=N                   answers as soon as so many requests to /token have arrived; also `judged`
//                                           (by the provider, rotated or refused) and `finished` (answered or lost)

import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import http from 'node:http';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { MemoryStore } from './memory_store.mjs';
import { Faults } from './faults.mjs';
import { TokenLog } from './token_log.mjs';

// The provider warns on the console that a test setup is a test setup. Its real errors arrive as events.
console.warn = console.info = () => {};

const here = fileURLToPath(new URL('.', import.meta.url));
const modules = resolve(process.env.VAULT_TEST_NODE_MODULES ?? join(here, 'node_modules'));
const entry = createRequire(import.meta.url).resolve(join(modules, 'oidc-provider'));
const { Provider } = await import(pathToFileURL(entry));

const SCOPE = 'openid offline_access';

const client = (client_id, client_secret, token_endpoint_auth_method) => ({
  client_id,
  client_secret,
  token_endpoint_auth_method,
  redirect_uris: ['https://client.example/callback'],
  response_types: ['code'],
  grant_types: ['authorization_code', 'refresh_token'],
  scope: SCOPE,
  id_token_signed_response_alg: 'ES256',
});

function newProvider(issuer, log) {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const store = new MemoryStore();
  const provider = new Provider(issuer, {
    adapter: (model) => store.adapter(model),
    clients: [
      // A secret that differs from its form-encoded self: RFC 6749 2.3.1 wants it encoded before base64.
      client('vault-basic', 'pass: 100%+odd/chars=&~!', 'client_secret_basic'),
      client('vault-post', 'a-secret-that-is-sent-in-the-body', 'client_secret_post'),
    ],
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'e1', use: 'sig', alg: 'ES256' }] },
    cookies: { keys: [randomBytes(16).toString('hex')] },
    features: { devInteractions: { enabled: false }, revocation: { enabled: true }, introspection: { enabled: true } },
    scopes: SCOPE.split(' '),
    rotateRefreshToken: process.env.ROTATE !== 'no',
    ttl: {
      AccessToken: Number(process.env.AT_TTL ?? 3600),
      IdToken: 3600,
      RefreshToken: 14 * 86400,
      Grant: 14 * 86400,
    },
    findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
  });
  provider.on('grant.success', (ctx) => log.judged(ctx, null));
  provider.on('grant.error', (ctx, error) => log.judged(ctx, error));
  provider.on('server_error', (ctx, error) => log.judged(ctx, error));
  provider.on('grant.revoked', (_, grantId) => log.revoked(grantId));
  return provider;
}

// The three records a finished authorization code flow leaves behind, with the same contents.
async function newGrant(provider, client) {
  const accountId = `user-${randomBytes(8).toString('hex')}`;
  const grant = new provider.Grant({ accountId, clientId: client.clientId });
  grant.addOIDCScope(SCOPE);
  const grantId = await grant.save();
  const issued = {
    accountId,
    client,
    expiresWithSession: false,
    grantId,
    gty: 'authorization_code',
    scope: SCOPE,
    sessionUid: randomBytes(16).toString('hex'),
  };
  const access = new provider.AccessToken(issued);
  const access_token = await access.save();
  const authTime = Math.floor(Date.now() / 1000);
  const refresh_token = await new provider.RefreshToken({ ...issued, authTime, rotations: 0 }).save();
  return { grant: grantId, access_token, refresh_token, expires_in: access.expiration };
}

async function isAlive(provider, value) {
  const token = await provider.RefreshToken.find(value);
  return Boolean(token?.isValid && (await provider.Grant.find(token.grantId)));
}

const controls = {
  async '/_grants'({ provider }, { count = 1, client = 'vault-post' }) {
    const found = await provider.Client.find(client);
    if (!found) throw new Error(`there is no client ${client}`);
    const grants = [];
    for (let i = 0; i < count; i += 1) grants.push(await newGrant(provider, found));
    return { grants };
  },
  async '/_alive'({ provider }, { refresh_tokens }) {
    return { alive: await Promise.all(refresh_tokens.map((value) => isAlive(provider, value))) };
  },
  '/_fault': ({ faults }, fault) => faults.add(fault),
  '/_release': ({ faults }) => faults.release(),
  '/_log': ({ log }) => ({ requests: log.entries }),
  '/_stats': ({ log }) => log.stats(),
  '/_wait': ({ log }, _, query) => log.reached(Object.fromEntries(query)),
};

async function text(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

async function control(world, act, url, req, res) {
  let status = 200;
  let answer;
  try {
    const body = await text(req);
    answer = await act(world, body ? JSON.parse(body) : {}, url.searchParams);
  } catch (error) {
    status = 400;
    answer = { error: String(error?.message ?? error) };
  }
  res.writeHead(status, { 'content-type': 'application/json' });
  res.end(JSON.stringify(answer ?? {}));
}

function serve(port) {
  const fingerprint = (token) => createHash('sha256').update(token).digest('hex').slice(0, 16);
  const world = { log: new TokenLog(fingerprint), faults: new Faults() };
  let answer;
  const server = http.createServer(async (req, res) => {
    const url = new URL(req.url, 'http://peer');
    const act = controls[url.pathname];
    if (act) return control(world, act, url, req, res);
    if (url.pathname === '/token') {
      world.log.arrived(req, res);
      if (await world.faults.intervene(req, res, world.log)) return undefined;
    }
    return answer(req, res);
  });
  // A pooled connection that the server closes by itself would look like a fault nobody asked for.
  server.keepAliveTimeout = 0;
  server.listen(port, '127.0.0.1', () => {
    const issuer = `http://127.0.0.1:${server.address().port}`;
    world.provider = newProvider(issuer, world.log);
    answer = world.provider.callback();
    console.log(`ready ${issuer}`);
  });
}

// Whoever started this process may be killed without a chance to end it.
const parent = process.ppid;
setInterval(() => process.ppid === parent || process.exit(0), 200).unref();
process.on('SIGTERM', () => process.exit(0));

serve(Number(process.argv[2] ?? 0));
