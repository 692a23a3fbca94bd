// An OpenID provider of one organization, for tests: the real `oidc-provider`, on loopback.
//
// node provider.mjs <port> <alg> <groups by client, as JSON: {"olga": ["crm-users"]}>
//
// Each client gets access tokens for `api://crm` by its credentials, with its groups in them. Keys
// are called `key-1`, `key-2` and so on, so that two providers have keys of the same id.
//
// POST /test/keys?step=announce   the next key signs from now on, beside those before it
// POST /test/keys?step=retire     only the newest is left
// POST /test/groups?client=…      the client's groups from now on, as JSON
//
// The provider reads its keys once, so that each step is a new one at the same address.

import { generateKeyPairSync, webcrypto } from 'node:crypto';
import { createServer } from 'node:http';
import { json } from 'node:stream/consumers';

// What Node 18, the one of Debian 12, lacks and the provider uses.
URL.parse ??= (text, base) => (URL.canParse(text, base) ? new URL(text, base) : null);
globalThis.crypto ??= webcrypto;
const { Provider } = await import('oidc-provider');

const [port, alg, stated] = process.argv.slice(2);
const groups = JSON.parse(stated);
const issuer = `http://127.0.0.1:${port}`;
let made = 0;

function key() {
  const { privateKey } = alg === 'ES256'
    ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
    : generateKeyPairSync('rsa', { modulusLength: 2048 });
  made += 1;
  return { ...privateKey.export({ format: 'jwk' }), kid: `key-${made}`, alg, use: 'sig' };
}

function provider(keys) {
  const provider = new Provider(issuer, {
    jwks: { keys },
    clients: Object.keys(groups).map((client_id) => ({
      client_id,
      client_secret: 'a-secret-of-a-test',
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
      id_token_signed_response_alg: alg,
      token_endpoint_auth_method: 'client_secret_post',
    })),
    extraTokenClaims: (_, token) => ({ groups: groups[token.clientId] }),
    ttl: { ClientCredentials: 600 },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, audience) => ({
          scope: '',
          audience,
          accessTokenFormat: 'jwt',
          accessTokenTTL: 600,
          jwt: { sign: { alg } },
        }),
      },
    },
  });
  provider.on('server_error', (_, error) => console.error(error));
  return provider.callback();
}

let keys = [key()];
let current = provider(keys);

createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, issuer);
  if (pathname === '/test/keys') {
    keys = searchParams.get('step') === 'announce' ? [key(), ...keys] : keys.slice(0, 1);
    current = provider(keys);
    response.end();
  } else if (pathname === '/test/groups') {
    groups[searchParams.get('client')] = await json(request);
    response.end();
  } else {
    current(request, response);
  }
}).listen(Number(port), '127.0.0.1');
