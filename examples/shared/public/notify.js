// What reaches a person who does not look at the page: a sound and the browser's notifications, each with a switch that
// this browser remembers.

/** A checkbox whose state is kept under its name. `turnedOn` may refuse, by returning why it cannot be. */
export class Switch {
  #box;
  #help;
  #usual;

  constructor(name, { usual = false, turnedOn = () => undefined } = {}) {
    const key = `switch ${name}`;
    this.#box = document.querySelector(`input[name="${name}"]`);
    this.#help = document.getElementById(this.#box.getAttribute("aria-describedby"));
    this.#usual = this.#help?.textContent;
    this.#box.checked = (localStorage.getItem(key) ?? String(usual)) === "true";
    this.#box.addEventListener("change", async () => {
      const problem = this.isOn ? await turnedOn() : undefined;
      if (problem) this.#box.checked = false;
      if (this.#help) this.#help.textContent = problem ?? this.#usual;
      localStorage.setItem(key, String(this.isOn));
    });
  }

  get isOn() {
    return this.#box.checked;
  }
}

let audio;

/** Two short tones. Browsers let a page sound only after somebody has done something on it, such as turning a switch. */
export async function chime() {
  if (navigator.userActivation?.hasBeenActive === false) return;
  audio ??= new AudioContext();
  await audio.resume();
  for (const [begin, frequency] of [[0, 660], [0.15, 880]]) {
    const at = audio.currentTime + begin;
    const tone = new OscillatorNode(audio, { frequency });
    const volume = new GainNode(audio, { gain: 0 });
    volume.gain.setValueAtTime(0.15, at);
    volume.gain.exponentialRampToValueAtTime(0.001, at + 0.3);
    tone.connect(volume).connect(audio.destination);
    tone.start(at);
    tone.stop(at + 0.3);
  }
}

/** Asks for leave to show notifications; why there is none, if so. */
export async function mayNotify() {
  if (!("Notification" in window)) return "This browser has no notifications, or this page is not served over HTTPS.";
  const answer = await Notification.requestPermission();
  return answer === "granted" ? undefined : "Your browser refuses notifications of this page. Allow them in its settings for this site.";
}

/** Shows a notification of the browser, if it lets us. What has the same tag is shown once. */
export function notify(title, body, tag) {
  if (window.Notification?.permission !== "granted") return;
  try {
    new Notification(title, { body, tag, icon: "/icon.svg" });
  } catch {
    // Phones show them only for pages that have a service worker. The page itself says it all the same.
  }
}
