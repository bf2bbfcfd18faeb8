// Failures of the token endpoint, scripted by a test.
//
// Each fault is used for `times` requests (1), in the order they were added:
//
//   delay_before_ms   waits before anything else. Whoever hangs up meanwhile was never heard: nothing is processed.
//   lose_before       drops the connection; nothing is processed.
//   status            answers this, with `headers` and `body`; nothing is processed.
//   lose_after        the provider processes the request, and rotates; then the connection drops.
//   status_after      the same, but with this answer instead of the real one (and `headers` and `body`).
//   delay_after_ms    waits between processing and answering, whatever the answer will be.

export class Faults {
  #queue = [];
  #held = new Set();

  add(fault) {
    if (!fault || typeof fault !== 'object') throw new Error('a fault is an object');
    this.#queue.push({ times: 1, ...fault });
  }

  release() {
    this.#queue = [];
    for (const letGo of this.#held) letGo();
  }

  // Whether the request has been dealt with: if not, it is the provider's, with its answer wired to fail as scripted.
  async intervene(req, res, log) {
    const fault = this.#next();
    if (!fault) return false;
    if (fault.delay_before_ms) {
      await this.#pause(fault.delay_before_ms, res);
      if (res.destroyed || req.socket.destroyed) {
        log.unprocessed(req, 'abandoned');
        return true;
      }
    }
    if (fault.lose_before || fault.status) {
      log.unprocessed(req, fault.status ? 'scripted' : 'dropped', await formOf(req));
      if (fault.status) reply(res, fault.status, fault);
      else req.socket.destroy();
      return true;
    }
    this.#rewire(req, res, fault);
    return false;
  }

  #next() {
    const fault = this.#queue[0];
    if (fault && (fault.times -= 1) <= 0) this.#queue.shift();
    return fault;
  }

  // The provider writes its answer with a single `end`; until then nothing has left.
  #rewire(req, res, fault) {
    if (!fault.lose_after && !fault.status_after && !fault.delay_after_ms) return;
    const end = res.end;
    res.end = (...answer) => {
      res.end = end;
      const finish = () => {
        if (fault.lose_after) req.socket.destroy();
        else if (fault.status_after) reply(res, fault.status_after, fault);
        else res.end(...answer);
      };
      if (fault.delay_after_ms) this.#pause(fault.delay_after_ms, res).then(finish);
      else finish();
      return res;
    };
  }

  #pause(milliseconds, res) {
    return new Promise((resolve) => {
      const letGo = () => {
        clearTimeout(timer);
        this.#held.delete(letGo);
        resolve();
      };
      const timer = setTimeout(letGo, milliseconds);
      this.#held.add(letGo);
      res.once('close', letGo);
    });
  }
}

function reply(res, status, { headers = {}, body = '' }) {
  for (const name of res.getHeaderNames()) res.removeHeader(name);
  const json = typeof body !== 'string';
  res.writeHead(status, { ...(json ? { 'content-type': 'application/json' } : {}), ...headers });
  res.end(json ? JSON.stringify(body) : body);
}

async function formOf(req) {
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  return new URLSearchParams(Buffer.concat(chunks).toString('utf8'));
}
