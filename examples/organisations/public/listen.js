// Subscriptions for parts of a page that come and go.
//
// Bind once, when a part begins, and never again in a handler of `connected`: after a lost connection pusher-js
// subscribes again by itself and keeps what is bound. Handlers that are bound on every connection run twice after the
// second, three times after the third.

/** For each pusher, how many parts of the page listen to which channel. */
const listeners = new WeakMap();

/**
 * Subscribes to a channel, which several parts may do at once, and binds handlers by event.
 * @returns {() => void} takes these handlers away, and leaves the channel with its last listener
 */
export function listen(pusher, channelName, handlers) {
  if (!listeners.has(pusher)) listeners.set(pusher, new Map());
  const counts = listeners.get(pusher);
  counts.set(channelName, (counts.get(channelName) ?? 0) + 1);

  const channel = pusher.subscribe(channelName);
  // Functions of their own, because unbinding takes away every binding of a function: another part's, too.
  const bound = Object.entries(handlers).map(([event, handler]) => [event, (data) => handler(data)]);
  for (const [event, handler] of bound) channel.bind(event, handler);

  let listening = true;
  return () => {
    if (!listening) return;
    listening = false;
    for (const [event, handler] of bound) channel.unbind(event, handler);
    counts.set(channelName, counts.get(channelName) - 1);
    if (counts.get(channelName) > 0) return;
    counts.delete(channelName);
    pusher.unsubscribe(channelName);
  };
}
