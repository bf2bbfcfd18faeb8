// What the token endpoint saw, one entry for each request in order of arrival. Tokens appear as fingerprints only.
//
//   {seq, client, grant_type, grant, presented, issued, outcome, error, detail, delivered, delivered_at}
//
// `outcome` is `pending`, `ok` or `refused` when the provider judged the request, and `scripted`, `dropped` or
// `abandoned` (see faults.mjs) when it never did. `delivered` says whether a whole answer went out, and `delivered_at` when
// (Unix time in milliseconds).

export class TokenLog {
  entries = [];
  #fingerprint;
  #byRequest = new WeakMap();
  #revoked = new Set();
  #progress = { arrived: 0, judged: 0, finished: 0 };
  #waiting = new Set();

  constructor(fingerprint) {
    this.#fingerprint = (value) => (value ? fingerprint(value) : null);
  }

  arrived(req, res) {
    const entry = {
      seq: this.entries.length + 1,
      client: null,
      grant_type: null,
      grant: null,
      presented: null,
      issued: null,
      outcome: 'pending',
      error: null,
      detail: null,
      delivered: false,
      delivered_at: null,
    };
    this.entries.push(entry);
    this.#byRequest.set(req, entry);
    res.once('finish', () => Object.assign(entry, { delivered: true, delivered_at: Date.now() }));
    res.once('close', () => this.#count('finished'));
    this.#count('arrived');
  }

  // The provider's verdict.
  judged({ req, oidc, body }, error) {
    const entry = this.#byRequest.get(req);
    if (!entry) return;
    Object.assign(entry, {
      client: oidc?.client?.clientId ?? null,
      grant_type: oidc?.params?.grant_type ?? null,
      grant: oidc?.entities?.Grant?.jti ?? null,
      presented: this.#fingerprint(oidc?.params?.refresh_token),
      issued: error ? null : this.#fingerprint(body?.refresh_token),
      outcome: error ? 'refused' : 'ok',
      error: error ? (error.error ?? 'server_error') : null,
      detail: error ? (error.error_detail ?? error.message ?? null) : null,
    });
    this.#count('judged');
  }

  // The provider never saw it.
  unprocessed(req, outcome, form) {
    const entry = this.#byRequest.get(req);
    entry.outcome = outcome;
    entry.client = form?.get('client_id') ?? null;
    entry.grant_type = form?.get('grant_type') ?? null;
    entry.presented = this.#fingerprint(form?.get('refresh_token'));
  }

  revoked(grantId) {
    this.#revoked.add(grantId);
  }

  stats() {
    const refreshes = this.entries.filter((entry) => entry.grant_type === 'refresh_token');
    return {
      refreshes_ok: refreshes.filter((entry) => entry.outcome === 'ok').length,
      refreshes_refused: refreshes.filter((entry) => entry.outcome === 'refused').length,
      grants_revoked: this.#revoked.size,
    };
  }

  // Resolves once so many requests have arrived, been judged by the provider, and finished.
  reached(wanted) {
    return new Promise((resolve) => {
      this.#waiting.add({ wanted, resolve });
      this.#wake();
    });
  }

  #count(step) {
    this.#progress[step] += 1;
    this.#wake();
  }

  #wake() {
    for (const waiter of this.#waiting) {
      if (Object.entries(waiter.wanted).every(([step, count]) => this.#progress[step] >= count)) {
        this.#waiting.delete(waiter);
        waiter.resolve(this.#progress);
      }
    }
  }
}
