// A real OAuth 2.1 authorization server for tests: whoever comes is alice, and she consents to everything.
// OIDC holds {port, provider, clients, roles, opaque, brief}; provider is the file URL of npm's oidc-provider.
import http from 'node:http';
import { generateKeyPairSync, randomUUID } from 'node:crypto';

const told = JSON.parse(process.env.OIDC);
const { default: Provider } = await import(told.provider);
const scopes = ['telemetry:read', 'telemetry:more'];
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const key = { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'ES256' };

const provider = new Provider(`http://127.0.0.1:${told.port}`, {
  jwks: { keys: [key] },
  cookies: { keys: ['of a test'] },
  clients: told.clients,
  clientDefaults: { id_token_signed_response_alg: 'ES256' },
  scopes: ['openid', 'offline_access', ...scopes],
  pkce: { required: () => true },
  findAccount: (_, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  extraTokenClaims: (_, token) => ({ roles: told.roles[token.accountId ?? token.clientId] ?? [] }),
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    registration: { enabled: true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource, client) => ({
        scope: scopes.join(' '),
        audience: resource,
        accessTokenFormat: told.opaque.includes(resource) ? 'opaque' : 'jwt',
        accessTokenTTL: told.brief.includes(client.clientId) ? 2 : 300,
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
});

async function consent(request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') {
    return provider.interactionFinished(request, response, { login: { accountId: 'alice' } });
  }
  const known = grantId && (await provider.Grant.find(grantId));
  const grant = known || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  if (prompt.details.missingOIDCScope) grant.addOIDCScope(prompt.details.missingOIDCScope.join(' '));
  for (const [resource, wanted] of Object.entries(prompt.details.missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, wanted.join(' '));
  }
  const result = { consent: { grantId: await grant.save() } };
  return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
}

const answer = provider.callback();
http
  .createServer((request, response) =>
    request.url.startsWith('/interaction/')
      ? consent(request, response).catch((error) => response.writeHead(500).end(String(error)))
      : answer(request, response),
  )
  .listen(told.port, '127.0.0.1', () => console.error('the authorization server is ready'));
