// How many clients the server has, from its admin port. That port is for operators: pages get this number, not the port.

const urls = (process.env.ADMIN_URL ?? "http://127.0.0.1:9601").split(",");
const token = process.env.ADMIN_TOKEN;
const headers = token ? { authorization: `Bearer ${token}` } : {};

async function ask(url) {
  const answer = await fetch(`${url}/health`, { headers, signal: AbortSignal.timeout(2000) });
  if (!answer.ok) throw new Error(`${url}/health answers ${answer.status}`);
  return (await answer.json()).connections;
}

/** Of all nodes together, or null while one of them does not answer. */
export async function connections() {
  try {
    const counts = await Promise.all(urls.map(ask));
    return counts.reduce((sum, count) => sum + count, 0);
  } catch {
    // The page says that it is not known; whoever operates the server has other means to see why.
    return null;
  }
}
