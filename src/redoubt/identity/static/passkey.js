/* Passkeys in the browser: register, sign in (also from the autofill list), step up, approve.
 *
 * A module of this origin that writes text only, so that it runs under `require-trusted-types-for 'script'`.
 * Forms opt in: data-passkey="login|register|enrol|stepup|add", data-next, data-token; data-passkey-approve="URL"
 * sends an approval; data-stepup steps up first and then submits. Every function is exported too.
 */

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/** Bytes to base64url without padding (RFC 4648, section 5). */
export function encode(buffer) {
  const bytes = new Uint8Array(buffer);
  let text = "";
  for (let i = 0; i < bytes.length; i += 3) {
    const [a, b, c] = [bytes[i], bytes[i + 1], bytes[i + 2]];
    text += ALPHABET[a >> 2] + ALPHABET[((a & 3) << 4) | ((b ?? 0) >> 4)];
    if (b !== undefined) text += ALPHABET[((b & 15) << 2) | ((c ?? 0) >> 6)];
    if (c !== undefined) text += ALPHABET[c & 63];
  }
  return text;
}

/** Base64url to bytes; throws for anything else. */
export function decode(text) {
  const bytes = new Uint8Array(Math.floor((text.length * 3) / 4));
  let held = 0, bits = 0, at = 0;
  for (const character of text) {
    const value = ALPHABET.indexOf(character);
    if (value < 0) throw new TypeError("not base64url");
    held = (held << 6) | value;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes[at++] = (held >> bits) & 255;
    }
  }
  return bytes.buffer;
}

/** A refusal by the server: `status`, `code` and a sentence for people. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || "That did not work.");
    this.status = status;
    this.code = problem.code || "";
    this.retryAfter = problem.retryAfter;
  }
}

let csrf = document.querySelector('meta[name="csrf-token"]')?.content ?? null;

async function token() {
  if (csrf === null) csrf = (await session()).csrf;
  return csrf;
}

/** Who is signed in; also renews this page's CSRF token. */
export async function session() {
  const answer = await fetch("/auth/session", { headers: { Accept: "application/json" }, cache: "no-store" });
  const body = await answer.json();
  csrf = body.csrf;
  return body;
}

/** POST JSON to a path of this origin; throws Refused. */
export async function post(path, body = {}) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRF-Token": await token() },
    body: JSON.stringify(body),
    redirect: "error",
  });
  const parsed = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, { ...parsed, retryAfter: answer.headers.get("Retry-After") });
  if (parsed.csrf) {
    csrf = parsed.csrf;
    for (const field of document.querySelectorAll('input[name="csrf_token"]')) field.value = csrf;
  }
  return parsed;
}

function creation(json) {
  if (PublicKeyCredential.parseCreationOptionsFromJSON) return PublicKeyCredential.parseCreationOptionsFromJSON(json);
  return {
    ...json,
    challenge: decode(json.challenge),
    user: { ...json.user, id: decode(json.user.id) },
    excludeCredentials: json.excludeCredentials.map((item) => ({ ...item, id: decode(item.id) })),
  };
}

function request(json) {
  if (PublicKeyCredential.parseRequestOptionsFromJSON) return PublicKeyCredential.parseRequestOptionsFromJSON(json);
  return {
    ...json,
    challenge: decode(json.challenge),
    allowCredentials: json.allowCredentials.map((item) => ({ ...item, id: decode(item.id) })),
  };
}

function toJSON(credential) {
  const { response } = credential;
  const out = { clientDataJSON: encode(response.clientDataJSON) };
  if (response.attestationObject) {
    out.attestationObject = encode(response.attestationObject);
    out.transports = response.getTransports?.() ?? [];
  } else {
    out.authenticatorData = encode(response.authenticatorData);
    out.signature = encode(response.signature);
    out.userHandle = response.userHandle ? encode(response.userHandle) : null;
  }
  return { id: credential.id, rawId: encode(credential.rawId), type: credential.type, response: out };
}

let waiting = null; // the conditional request that a modal one must end first; null once its passkey was used
let offered = null; // how the sign-in from the autofill list ends; null once a click has joined it

function settle() {
  waiting?.abort();
  waiting = null;
}

async function create({ publicKey }) {
  settle();
  return toJSON(await navigator.credentials.create({ publicKey: creation(publicKey) }));
}

async function get({ publicKey }, extra = {}) {
  if (!extra.mediation) settle();
  return toJSON(await navigator.credentials.get({ publicKey: request(publicKey), ...extra }));
}

/** Make an account with a passkey of this device. */
export async function register(email, label = "") {
  const credential = await create(await post("/auth/register/options", { email }));
  return post("/auth/register/verify", { credential, label });
}

/** Make an account from a one-time enrolment link. */
export async function enrol(token, email, label = "") {
  const credential = await create(await post("/enrol/options", { token, email }));
  return post("/enrol/verify", { token, credential, label });
}

/** Sign in with whichever passkey the person picks; where one of the autofill list is on its way, with that one. */
export async function login() {
  settle();
  const first = offered;
  offered = null;
  const answer = await first?.catch(() => null);
  if (answer) return answer;
  const credential = await get(await post("/auth/login/options"));
  return post("/auth/login/verify", { credential });
}

/** Offer passkeys in the autofill list of a field marked `webauthn`; resolves once one was used, null if it cannot. */
export function autofill() {
  return (offered = offer());
}

async function offer() {
  settle();
  const controller = (waiting = new AbortController()); // before the first wait: a click must be able to end this
  if (!(await PublicKeyCredential.isConditionalMediationAvailable?.())) return null;
  try {
    if (controller.signal.aborted) return null;
    const options = await post("/auth/login/options");
    if (controller.signal.aborted) return null;
    const credential = await get(options, { mediation: "conditional", signal: controller.signal });
    if (waiting === controller) waiting = null;
    if (controller.signal.aborted) return null;
    return await post("/auth/login/verify", { credential });
  } catch (error) {
    if (controller.signal.aborted) return null;
    throw error;
  }
}

/** Use the passkey again, so that risky actions are open for five minutes (RFC 9470). */
export async function stepUp() {
  const credential = await get(await post("/auth/stepup/options"));
  return post("/auth/stepup/verify", { credential });
}

/** Add another passkey to the account that is signed in; steps up first where that is needed. */
export async function addPasskey(label = "") {
  const options = await withStepUp(() => post("/account/passkeys/options"));
  return post("/account/passkeys/verify", { credential: await create(options), label });
}

/** Approve: sign the exact challenge of `optionsUrl` and send the assertion to `approveUrl`. */
export async function approve(optionsUrl, approveUrl, body = {}) {
  const credential = await get(await post(optionsUrl));
  return post(approveUrl, { ...body, credential });
}

/** Run `action`; where it is refused for want of a fresh passkey, step up and run it once more. */
export async function withStepUp(action) {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof Refused) || error.code !== "step-up-required") throw error;
    await stepUp();
    return action();
  }
}

function sentence(error) {
  if (error instanceof Refused) return error.retryAfter ? `${error.message} Try again in ${error.retryAfter} s.` : error.message;
  if (error.name === "NotAllowedError" || error.name === "AbortError") return "That was cancelled, or took too long.";
  if (error.name === "InvalidStateError") return "This device has a passkey for this account already.";
  return "That did not work on this device.";
}

function say(form, text, kind) {
  const status = form.parentElement?.querySelector("[data-passkey-status]") ?? document.querySelector("[data-passkey-status]");
  if (!status) return;
  status.textContent = text;
  status.dataset.kind = kind;
}

function go(path) {
  location.assign(path && path.startsWith("/") && !path.startsWith("//") && !path.includes("\\") ? path : "/");
}

const ACTIONS = {
  login: (form) => login().then(() => form.dataset.next),
  register: (form) => register(form.elements.email.value).then(() => form.dataset.next),
  enrol: (form) => enrol(form.dataset.token, form.elements.email.value).then(() => form.dataset.next),
  stepup: (form) => stepUp().then(() => form.dataset.next),
  add: (form) => addPasskey(form.elements.label?.value ?? "").then(() => location.pathname),
};

async function run(form, action) {
  const buttons = form.querySelectorAll("button");
  for (const button of buttons) button.disabled = true;
  say(form, "Waiting for your passkey …", "");
  try {
    await action();
  } catch (error) {
    say(form, sentence(error), "bad");
    if (error instanceof Refused && error.code === "forged") csrf = null; // another tab changed the session
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

function wire() {
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      run(form, async () => go(await ACTIONS[form.dataset.passkey](form)));
    });
  }
  for (const form of document.querySelectorAll("form[data-passkey-approve]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      run(form, async () => {
        await approve(form.dataset.passkeyApprove, form.getAttribute("action"));
        go(form.dataset.next || location.pathname);
      });
    });
  }
  for (const form of document.querySelectorAll("form[data-stepup]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      run(form, async () => {
        const state = await session();
        const until = state.step_up_until ? Date.parse(state.step_up_until) : 0;
        if (until - Date.now() < 5000) await stepUp();
        const field = form.querySelector('input[name="csrf_token"]');
        if (field) field.value = csrf;
        form.submit();
      });
    });
  }
  const login = document.querySelector('form[data-passkey="login"]');
  if (login && window.PublicKeyCredential) {
    autofill()
      .then((answer) => answer && offered && go(login.dataset.next)) // a click that joined goes by itself
      .catch((error) => offered && say(login, sentence(error), "bad"));
  }
}

wire();
