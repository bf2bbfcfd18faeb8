// What the provider knows, in memory and without a limit.
//
// The provider's own memory adapter keeps the latest thousand records: with a few hundred grants it would begin to
// forget living ones, and every such grant would look like one that was lost.

export class MemoryStore {
  #records = new Map();
  #members = new Map(); // grant id -> keys of the tokens that belong to it

  adapter(model) {
    const records = this.#records;
    const members = this.#members;
    const key = (id) => `${model}:${id}`;
    const found = (match) => [...records].find(([k, record]) => k.startsWith(`${model}:`) && match(record))?.[1];
    return {
      async upsert(id, payload) {
        records.set(key(id), payload);
        if (payload.grantId) {
          if (!members.has(payload.grantId)) members.set(payload.grantId, new Set());
          members.get(payload.grantId).add(key(id));
        }
      },
      async find(id) {
        return records.get(key(id));
      },
      async findByUid(uid) {
        return found((record) => record.uid === uid);
      },
      async findByUserCode(userCode) {
        return found((record) => record.userCode === userCode);
      },
      async consume(id) {
        const record = records.get(key(id));
        // The judge must not err: two requests can never both redeem one token.
        if (record.consumed) throw new Error('a record was consumed twice');
        record.consumed = Math.floor(Date.now() / 1000);
      },
      async destroy(id) {
        records.delete(key(id));
      },
      async revokeByGrantId(grantId) {
        for (const member of members.get(grantId) ?? []) {
          if (member.startsWith(`${model}:`)) records.delete(member);
        }
      },
    };
  }
}
