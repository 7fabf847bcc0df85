const api = "http://127.0.0.1:5000/api/v1/users", token = location.hash.slice(1), find = (name) => document.querySelector(name);
history.replaceState(null, "", location.pathname); // the link stays out of the history
let headers = { "Content-Type": "application/json" };
async function call(path, body) {
  const answer = await fetch(api + path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
  if (answer.ok) return answer.json();
  throw (find("h1").textContent = (await answer.json()).detail);
}
if (token) call("/accept-invite/preview", { token }).then((offer) => {
  find("h1").textContent = offer.obstacle?.detail ?? `Join ${offer.tenant.name} as ${offer.role} (${offer.email})`;
  find("form").hidden = Boolean(offer.obstacle);
});
find("form").onsubmit = async (event) => {
  event.preventDefault();
  const { session, user } = await call("/accept-invite", { token, password: find("input").value });
  headers = { ...headers, Authorization: `Bearer ${session.access_token}` };
  find("h1").textContent = `Welcome, ${user.email}`;
  for (const each of (await call("/invitations")).items) find("ul").append(`${each.email}: ${each.status} `);
};
