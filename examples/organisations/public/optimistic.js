// Records as the backend has confirmed them, and changes and new records that are shown although it has not yet.
//
// A change is confirmed by the event that carries its mutation id or by the request's answer, whichever comes first. A
// change that is refused goes, and what was there before shows again, since it was never overwritten; a new record that
// is refused goes altogether.

export class Optimistic {
  #confirmed = new Map();
  #pending = new Map();

  /** Shows a new record from now on, under the mutation id until the backend has given it an id. */
  create(mutationId, values) {
    this.#pending.set(mutationId, { id: mutationId, values, isNew: true });
  }

  /** Shows a change from now on. */
  change(mutationId, id, values) {
    this.#pending.set(mutationId, { id, values });
  }

  /** A record from the backend. An older version than the known one changes nothing, so events may come twice or late. */
  confirm(record, mutationId) {
    this.#pending.delete(mutationId);
    if (record.version >= (this.#confirmed.get(record.id)?.version ?? 0)) this.#confirmed.set(record.id, record);
  }

  /** Shows a change no longer. False if it has been confirmed meanwhile: then only the answer was lost. */
  reject(mutationId) {
    return this.#pending.delete(mutationId);
  }

  /** What is to be shown, in the backend's order, and new records after it. */
  all() {
    const shown = new Map([...this.#confirmed].map(([id, record]) => [id, { ...record, pending: false }]));
    for (const { id, values, isNew } of this.#pending.values()) {
      if (isNew) shown.set(id, { id, ...values, pending: true, isNew });
      else if (shown.has(id)) Object.assign(shown.get(id), values, { pending: true });
    }
    return [...shown.values()];
  }
}
