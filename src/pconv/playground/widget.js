// Draw a hole: the browser's side of the widget in widget.py. anywidget loads this file as it is; it needs no network.

const MASKED = 0, FILLED = 1, TRUTH = 2; // what a picture shows; also the ends and the middle of the slider
const OURS = "pconv";
const PART = 4 * 2 ** 20; // bytes of a file in one message: Jupyter's server takes 10 MB at most
const MOST = 64 * 2 ** 20; // bytes of a file
const BRUSH = { min: 2, max: 64, value: 18 }; // px
const UNDO = 100; // steps

// Pixels

/** Set to 1 each pixel of a hole whose centre lies within a radius of the segment from a to b, all in pixels. */
export function paint(hole, size, [ax, ay], [bx, by], radius) {
  const [dx, dy] = [bx - ax, by - ay];
  const length2 = dx * dx + dy * dy;
  const first = (a, b) => Math.max(0, Math.floor(Math.min(a, b) - radius));
  const last = (a, b) => Math.min(size - 1, Math.ceil(Math.max(a, b) + radius));
  for (let y = first(ay, by); y <= last(ay, by); y++) {
    for (let x = first(ax, bx); x <= last(ax, bx); x++) {
      const [px, py] = [x + 0.5 - ax, y + 0.5 - ay];
      const along = length2 ? Math.min(1, Math.max(0, (px * dx + py * dy) / length2)) : 0;
      if ((px - along * dx) ** 2 + (py - along * dy) ** 2 <= radius * radius) hole[y * size + x] = 1;
    }
  }
}

/** Put the colours of a filling, which come for the pixels of its hole alone, where these pixels are: RGB. */
function spread(filled, colours) {
  const picture = new Uint8Array(3 * filled.length);
  for (let pixel = 0, next = 0; pixel < filled.length; pixel++) {
    if (filled[pixel]) picture.set(colours.subarray(next, (next += 3)), 3 * pixel);
  }
  return picture;
}

/** Draw a picture: each column masked, filled or true, as layer(x) says. What is not filled has the hole's colour. */
function show(canvas, { size, truth, hole, filled, picture, colour }, layer) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(size, size);
  const layers = Array.from({ length: size }, (_, x) => layer(x));
  for (let pixel = 0; pixel < size * size; pixel++) {
    const shown = layers[pixel % size];
    let [source, start] = [truth, 3 * pixel];
    if (shown !== TRUTH && hole[pixel]) {
      if (shown === FILLED && picture && filled[pixel]) source = picture;
      else [source, start] = [colour, 0];
    }
    image.data.set([source[start], source[start + 1], source[start + 2], 255], 4 * pixel);
  }
  context.putImageData(image, 0, 0);
}

const same = (a, b) => a.length === b.length && a.every((value, i) => value === b[i]);

function bytes(view) {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

// Elements

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function button(text, onclick, properties = {}) {
  return element("button", { type: "button", textContent: text, onclick, ...properties });
}

/** A slider with a label and its value. `onvalue` is called with each value, `onrelease` with the last one. */
function slider(text, unit, range, { onvalue = () => {}, onrelease = () => {} }) {
  const shown = element("span", { className: "value", "aria-hidden": "true" });
  const input = element("input", { type: "range", ...range });
  const say = () => input.setAttribute("aria-valuetext", (shown.textContent = `${input.value} ${unit}`));
  input.oninput = () => (say(), onvalue(Number(input.value)));
  input.onchange = () => onrelease(Number(input.value));
  say();
  const set = (value) => ((input.value = value), say());
  return { input, set, root: element("label", { className: "slider" }, text, input, shown) };
}

// The hole of one view, with what was there before

class Drawing {
  constructor(size, pixels) {
    this.size = size;
    this.pixels = pixels.slice();
    this.before = [];
    this.from = null; // where the stroke is that is being drawn
  }

  begin(point, radius) {
    this.remember();
    this.from = point;
    this.move(point, radius);
  }

  move(point, radius) {
    paint(this.pixels, this.size, this.from, point, radius);
    this.from = point;
  }

  /** End a stroke; tell whether it changed anything. */
  end() {
    this.from = null;
    const changed = !same(this.pixels, this.before.at(-1));
    if (!changed) this.before.pop();
    return changed;
  }

  replace(pixels) {
    this.remember();
    this.pixels = pixels.slice();
  }

  undo() {
    this.pixels = this.before.pop();
  }

  remember() {
    this.before.push(this.pixels.slice());
    if (this.before.length > UNDO) this.before.shift();
  }
}

// The view

class View {
  constructor(model, root) {
    this.model = model;
    this.root = root;
    this.size = model.get("size");
    this.drawing = new Drawing(this.size, bytes(model.get("hole")));
    this.sent = this.drawing.pixels.slice();
    this.chosen = OURS;
    this.cursor = [this.size / 2, this.size / 2];
    this.waiting = false;
    this.build();
    this.answer = this.answer.bind(this);
    model.on("change:revision", this.answer);
    this.answer();
  }

  build() {
    const { size } = this;
    this.canvas = element("canvas", {
      width: size, height: size, tabIndex: 0, role: "application", className: "picture",
      "aria-label": "Photograph with a hole. Arrow keys move the brush, the space bar paints, [ and ] change its size.",
    });
    this.ring = element("div", { className: "ring", "aria-hidden": "true" });
    this.brush = slider("Brush", "px", { ...BRUSH, step: 2 }, { onvalue: () => this.placeRing() });
    this.undo = button("Undo", () => this.goBack());
    this.clear = button("Clear", () => this.put(new Uint8Array(size * size)));
    this.wipe = element("input", {
      type: "range", min: MASKED, max: TRUTH, step: 0.01, value: FILLED, className: "wipe",
      "aria-label": "From masked over filled to truth", oninput: () => this.draw(),
    });
    const end = (text, value) => button(text, () => this.look(value), { className: "end" });
    this.ends = element("div", { className: "ends" }, end("masked", MASKED), end("filled", FILLED), end("truth", TRUTH));
    this.cards = element("div", { className: "cards", role: "group", "aria-label": "Methods" });
    this.status = element("div", { className: "status", role: "status" });
    this.root.append(
      element("div", { className: "bar" }, this.buildChoice(), this.buildUpload()),
      element("div", { className: "bar" }, this.brush.root, this.undo, this.clear),
      element("div", { className: "stage" }, this.canvas, this.ring),
      this.wipe, this.ends,
      this.buildMasks(), this.status, this.cards,
    );
    this.listen();
  }

  buildChoice() {
    const labels = { test: "never trained on", val: "to validate", train: "to train on" };
    const groups = new Map();
    for (const { name, split, shows } of this.model.get("photographs")) {
      if (!groups.has(split)) groups.set(split, element("optgroup", { label: labels[split] }));
      groups.get(split).append(element("option", { value: name, textContent: `${name.replaceAll("_", " ")}: ${shows}` }));
    }
    this.own = element("option", { value: "", hidden: true });
    this.choice = element("select", { onchange: () => this.ask({ photograph: this.choice.value }) }, ...groups.values());
    this.choice.append(this.own);
    return element("label", {}, "Photograph ", this.choice);
  }

  buildUpload() {
    this.file = element("input", { type: "file", accept: "image/*", onchange: () => this.upload(this.file.files[0]) });
    return element("label", { className: "upload" }, "or your own ", this.file);
  }

  buildMasks() {
    const number = () => this.ask({ number: this.model.get("number") + 1 });
    const trait = (name) => ({ onrelease: (value) => this.ask({ [name]: value }) });
    this.ratio = slider("Hole", "%", { min: 1, max: 60 }, trait("ratio"));
    this.border = slider("clear of the border by", "px", { min: 0, max: this.size / 4 }, trait("border"));
    this.another = button("Another mask", number);
    return element("div", { className: "bar", role: "group", "aria-label": "Random mask" },
      this.ratio.root, this.border.root, this.another);
  }

  listen() {
    const { canvas } = this;
    canvas.onpointerdown = (event) => {
      if (!event.isPrimary || event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      this.startStroke(this.at(event));
    };
    canvas.onpointermove = (event) => event.isPrimary && this.moveTo(this.at(event));
    canvas.onpointerup = canvas.onpointercancel = (event) => event.isPrimary && this.endStroke();
    canvas.onkeydown = (event) => this.press(event);
    canvas.onkeyup = (event) => event.key === " " && this.endStroke();
    canvas.onblur = () => this.endStroke();
    this.root.addEventListener("keydown", (event) => {
      if (event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.goBack();
    });
  }

  // The brush

  get radius() {
    return Number(this.brush.input.value) / 2;
  }

  /** Return where a pointer is, in pixels of the picture. */
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.size / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  startStroke(point) {
    if (Number(this.wipe.value) > FILLED) this.wipe.value = FILLED; // the truth has no hole
    this.drawing.begin(point, this.radius);
    this.moveTo(point);
  }

  moveTo(point) {
    this.cursor = point;
    this.placeRing();
    if (!this.drawing.from) return;
    this.drawing.move(point, this.radius);
    this.draw();
  }

  endStroke() {
    if (this.drawing.from && this.drawing.end()) this.send();
    this.draw();
  }

  press(event) {
    const { key, shiftKey } = event;
    const step = shiftKey ? 1 : Math.max(1, this.radius);
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (key in moves) {
      const inside = (value) => Math.min(this.size, Math.max(0, value));
      this.moveTo([0, 1].map((axis) => inside(this.cursor[axis] + moves[key][axis])));
    } else if (key === " ") {
      if (!this.drawing.from) this.startStroke(this.cursor);
    } else if (key === "[" || key === "]") {
      this.brush.set(Number(this.brush.input.value) + (key === "[" ? -2 : 2));
      this.placeRing();
    } else return;
    event.preventDefault();
  }

  placeRing() {
    const share = (value) => `${(100 * value) / this.size}%`;
    const [left, top] = this.cursor.map((value) => share(value - this.radius));
    Object.assign(this.ring.style, { left, top, width: share(2 * this.radius) });
  }

  // What is sent

  ask(changes) {
    this.wait();
    for (const [name, value] of Object.entries(changes)) this.model.set(name, value);
    this.model.save_changes();
  }

  /** Have the hole filled as it is now. */
  send() {
    this.sent = this.drawing.pixels.slice();
    this.wipe.value = FILLED;
    this.ask({ hole: new DataView(this.sent.slice().buffer) });
    this.draw();
  }

  put(pixels) {
    if (this.drawing.from || same(pixels, this.drawing.pixels)) return;
    this.drawing.replace(pixels);
    this.send();
  }

  goBack() {
    if (this.drawing.from || !this.drawing.before.length) return;
    this.drawing.undo();
    this.send();
  }

  fillSlowly() {
    this.wait();
    this.model.send({ kind: "slow" });
  }

  /** Send a file in parts. */
  async upload(file) {
    if (!file) return;
    this.file.value = ""; // so that the same file can be chosen again
    if (file.size > MOST) return this.say(`${file.name}: larger than ${MOST / 2 ** 20} MB, the most that is read`);
    this.wait();
    for (let start = 0; start === 0 || start < file.size; start += PART) {
      const part = await file.slice(start, start + PART).arrayBuffer();
      const last = start + PART >= file.size;
      this.model.send({ kind: "file", name: file.name, last }, undefined, [part]);
    }
  }

  // What comes back

  /** Show what Python answered. A hole that was drawn there, by the sliders, replaces the one here. */
  answer() {
    const { model, drawing } = this;
    const hole = bytes(model.get("hole"));
    if (!same(hole, this.sent)) {
      drawing.from = null;
      drawing.replace(hole);
      this.sent = hole.slice();
    }
    this.waiting = false;
    this.truth = bytes(model.get("truth"));
    this.filled = bytes(model.get("filled")).slice();
    this.results = model.get("fillings").map((result) => ({
      ...result, picture: result.problem ? null : spread(this.filled, bytes(result.colours)),
    }));
    this.choose(this.results.some((one) => one.method === this.chosen) ? this.chosen : OURS);
    this.own.hidden = !model.get("own");
    this.own.textContent = model.get("own");
    this.choice.value = model.get("photograph");
    this.ratio.set(model.get("ratio"));
    this.border.set(model.get("border"));
  }

  choose(method) {
    this.chosen = method;
    this.draw();
    this.drawCards();
  }

  drawCards() {
    const focused = this.cards.contains(document.activeElement) ? document.activeElement.dataset.method : null;
    const cards = this.results.map((result) => this.card(result));
    if (cards.length && !this.results.some((one) => one.method === "biharmonic"))
      cards.push(button("Add biharmonic, which takes seconds", () => this.fillSlowly(), { className: "card slow" }));
    this.cards.replaceChildren(...cards);
    if (focused) this.cards.querySelector(`[data-method="${focused}"]`)?.focus();
  }

  card({ method, title, picture, psnr, seconds, problem }) {
    const canvas = element("canvas", { width: this.size, height: this.size });
    const { size, truth, filled } = this;
    show(canvas, { size, truth, hole: filled, filled, picture, colour: this.model.get("colour") }, () => FILLED);
    const measured = problem || `${psnr.toFixed(1)} dB in the hole, ${Math.round(1000 * seconds)} ms`;
    const card = button("", () => this.choose(method), { className: "card", "aria-pressed": method === this.chosen });
    card.dataset.method = method;
    card.append(canvas, element("strong", { textContent: title }), element("span", { textContent: measured }));
    return card;
  }

  look(value) {
    this.wipe.value = value;
    this.draw();
  }

  /** Draw the picture: what the slider has come to on the left of where it is, what it comes from on the right. */
  draw() {
    const value = Number(this.wipe.value);
    const over = value <= FILLED ? FILLED : TRUTH;
    const edge = (value - (over - 1)) * this.size;
    const { size, truth, filled } = this;
    const picture = this.results.find((one) => one.method === this.chosen)?.picture;
    const what = { size, truth, hole: this.drawing.pixels, filled, picture, colour: this.model.get("colour") };
    show(this.canvas, what, (x) => (x < edge ? over : over - 1));
    this.wipe.setAttribute("aria-valuetext", ["masked", "filled", "truth"][Math.round(value)]);
    this.undo.disabled = !this.drawing.before.length;
    this.placeRing();
    this.report();
  }

  wait() {
    this.waiting = true;
    this.report();
  }

  report() {
    this.root.setAttribute("aria-busy", this.waiting);
    const share = this.drawing.pixels.reduce((sum, value) => sum + value, 0) / this.size ** 2;
    const state = share ? `The hole covers ${(100 * share).toFixed(1)} % of the picture.` : "Draw a hole.";
    this.say(this.waiting ? "Filling …" : this.model.get("message") || state);
  }

  say(text) {
    this.status.textContent = text;
    this.status.classList.toggle("problem", Boolean(text) && text === this.model.get("message"));
  }

  close() {
    this.model.off("change:revision", this.answer);
  }
}

function render({ model, el }) {
  const root = element("div", { className: "pconv-playground" });
  root.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab would take the keys for its own
  el.append(root);
  const view = new View(model, root);
  return () => view.close();
}

export default { render };
