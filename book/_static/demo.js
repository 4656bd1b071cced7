/* A Generative Latent Flow in the reader's browser.
 *
 * demo-model.js, written by `glf export`, defines GLF_MODEL: layers in JSON, weights in base64. The first half of this
 * file runs such a model and knows nothing of the page; it also runs under node, where the tests compare it with
 * PyTorch. The second half is the page: book/demo.md holds its controls in a <template>.
 */
"use strict";

/* ---------------------------------------------------------------------------------------------- the model
 * Vectors are Float32Arrays. Layers take and return { data, shape }; images are (C, H, W), row by row.
 */

/** The number that 16 bits stand for in IEEE 754's half precision. */
function floatOfHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** base64 of little-endian floats -> Float32Array. */
function readFloats(base64, isHalf) {
  const text = atob(base64);
  const bytes = new DataView(new ArrayBuffer(text.length));
  for (let i = 0; i < text.length; i++) bytes.setUint8(i, text.charCodeAt(i));
  const size = isHalf ? 2 : 4;
  const floats = new Float32Array(text.length / size);
  for (let i = 0; i < floats.length; i++) {
    floats[i] = isHalf ? floatOfHalf(bytes.getUint16(i * size, true)) : bytes.getFloat32(i * size, true);
  }
  return floats;
}

/** A copy of GLF_MODEL with every tensor as { data: Float32Array, shape }. */
function readModel(part) {
  if (Array.isArray(part)) return part.map(readModel);
  if (part === null || typeof part !== "object") return part;
  if ("float16" in part) return { data: readFloats(part.float16, true), shape: part.shape };
  if ("float32" in part) return { data: readFloats(part.float32, false), shape: part.shape };
  return Object.fromEntries(Object.entries(part).map(([name, value]) => [name, readModel(value)]));
}

/** Row i of a tensor, as a view. */
function row(tensor, i) {
  const length = tensor.data.length / tensor.shape[0];
  return tensor.data.subarray(i * length, (i + 1) * length);
}

/** y = W x + b, W (outputs, inputs). */
function linear({ weight, bias }, x) {
  const [outputs, inputs] = weight.shape;
  const [w, v, y] = [weight.data, x.data, new Float32Array(outputs)];
  for (let o = 0, at = 0; o < outputs; o++) {
    let total = bias.data[o];
    for (let i = 0; i < inputs; i++, at++) total += w[at] * v[i];
    y[o] = total;
  }
  return { data: y, shape: [outputs] };
}

/** Transposed convolution, kernel 4, stride 2, padding 1: every input pixel (i, j) adds a stamp of 4 x 4, whose corner is
 * at (2i - 1, 2j - 1), to an image twice as high and wide. weight (C in, C out, 4, 4). */
function convTranspose({ weight, bias }, x) {
  const [channels, height, width] = x.shape;
  const outputs = weight.shape[1];
  const size = 4 * height * width;
  const [v, y] = [x.data, new Float32Array(outputs * size)];
  for (let o = 0; o < outputs; o++) y.fill(bias.data[o], o * size, (o + 1) * size);
  for (let c = 0, at = 0; c < channels; c++) {
    for (let o = 0; o < outputs; o++) {
      for (let k = 0; k < 4; k++) {
        for (let l = 0; l < 4; l++, at++) {
          const w = weight.data[at]; // one number of the stamp, for all pixels that it does not fall off the image for
          for (let i = k === 0 ? 1 : 0; i < (k === 3 ? height - 1 : height); i++) {
            const from = (c * height + i) * width;
            const to = (o * 2 * height + 2 * i - 1 + k) * 2 * width - 1 + l;
            for (let j = l === 0 ? 1 : 0; j < (l === 3 ? width - 1 : width); j++) y[to + 2 * j] += w * v[from + j];
          }
        }
      }
    }
  }
  return { data: y, shape: [outputs, 2 * height, 2 * width] };
}

const elementwise = (f) => (layer, x) => ({ data: x.data.map(f), shape: x.shape });

const LAYERS = {
  linear,
  "conv-transpose": convTranspose,
  relu: elementwise((v) => Math.max(v, 0)),
  elu: elementwise((v) => (v > 0 ? v : Math.expm1(v))),
  sigmoid: elementwise((v) => 1 / (1 + Math.exp(-v))),
  tanh: elementwise((v) => 0.5 * Math.tanh(v) + 0.5),
  unflatten: ({ shape }, x) => ({ data: x.data, shape }),
};

function sequential(layers, vector) {
  let x = { data: vector, shape: [vector.length] };
  for (const layer of layers) x = LAYERS[layer.type](layer, x);
  return x.data;
}

/** x = G(z): latent (D) -> pixels in [0, 1], (C, H, W). */
function decode(model, z) {
  return sequential(model.decoder, z);
}

const MIN_LOG_SCALE = Math.log(1e-3); // as in glf_minimal/flows.py

/** Log-scale and shift of the moving half, from the half that stays: y = z * exp(logS) + shift. */
function scaleAndShift(coupling, nets, passive) {
  const outputs = nets.map((net) => sequential(net, passive));
  const both = outputs.length === 1 ? outputs[0] : Float32Array.of(...outputs[0], ...outputs[1]);
  const a = both.subarray(0, both.length / 2);
  const t = both.subarray(both.length / 2);
  if (coupling.scale === "soft-clamp") return { logS: a.map((v) => 2 * 0.636 * Math.atan(v)), shift: t };
  const logS = a.map((v) => Math.max(-Math.log1p(Math.exp(-v - 2)), MIN_LOG_SCALE)); // log sigmoid(v + 2)
  return { logS, shift: t.map((v, i) => v * Math.exp(logS[i])) };
}

const sum = (vector) => vector.reduce((total, v) => total + v, 0);

/** Data -> noise through one coupling: { y, logDet }. */
function couplingForward(coupling, z) {
  let [z1, z2] = [z.slice(0, coupling.sizes[0]), z.slice(coupling.sizes[0])];
  let logDet = 0;
  const move = (half, nets, passive) => {
    const { logS, shift } = scaleAndShift(coupling, nets, passive);
    logDet += sum(logS);
    return half.map((v, i) => v * Math.exp(logS[i]) + shift[i]);
  };
  if (coupling.move_first) z1 = move(z1, coupling.move_first, z2);
  z2 = move(z2, coupling.move_second, z1);
  return { y: Float32Array.of(...z1, ...z2), logDet };
}

/** Noise -> data through one coupling: the same moves, undone in the opposite order. */
function couplingInverse(coupling, y) {
  let [y1, y2] = [y.slice(0, coupling.sizes[0]), y.slice(coupling.sizes[0])];
  const moveBack = (half, nets, passive) => {
    const { logS, shift } = scaleAndShift(coupling, nets, passive);
    return half.map((v, i) => (v - shift[i]) * Math.exp(-logS[i]));
  };
  y2 = moveBack(y2, coupling.move_second, y1);
  if (coupling.move_first) y1 = moveBack(y1, coupling.move_first, y2);
  return Float32Array.of(...y1, ...y2);
}

const permutationForward = ({ order }, z) => z.map((_, i) => z[order[i]]);

function permutationInverse({ order }, y) {
  const z = new Float32Array(y.length);
  order.forEach((from, i) => (z[from] = y[i]));
  return z;
}

/** eps = f(z): { eps, logDet }. */
function flowForward(model, z) {
  let total = 0;
  for (const layer of model.flow) {
    if (layer.type === "permutation") {
      z = permutationForward(layer, z);
    } else {
      const { y, logDet } = couplingForward(layer, z);
      total += logDet;
      z = y;
    }
  }
  return { eps: z, logDet: total };
}

/** The way from noise to latent, a point for each coupling that has been undone: [noise, …, z = f^-1(eps)].
 *
 * Every point has its entries in the order of the latents: the permutations still to come are carried out at once. So
 * the first point is eps reordered, and from there on only the couplings move it, which is what was learned. */
function flowPath(model, eps) {
  const { flow } = model;
  const inLatentOrder = (y, below) => {
    for (let i = below - 1; i >= 0; i--) if (flow[i].type === "permutation") y = permutationInverse(flow[i], y);
    return y;
  };
  const path = [inLatentOrder(eps, flow.length)];
  let y = eps;
  for (let i = flow.length - 1; i >= 0; i--) {
    y = flow[i].type === "permutation" ? permutationInverse(flow[i], y) : couplingInverse(flow[i], y);
    if (flow[i].type === "coupling") path.push(inLatentOrder(y, i));
  }
  return path;
}

/** z = f^-1(eps). */
function flowInverse(model, eps) {
  return flowPath(model, eps).at(-1);
}

/** log p(z) = log N(f(z); 0, I) + log |det df/dz|, in nats. */
function logDensity(model, z) {
  const { eps, logDet } = flowForward(model, z);
  return -0.5 * sum(eps.map((v) => v * v + Math.log(2 * Math.PI))) + logDet;
}

/** The largest difference from what PyTorch made of the noise in model.check, with the flow and without. */
function selfCheck(model) {
  const { eps, latents, log_density, images, plain } = model.check;
  let worst = 0;
  const compare = (got, expected) => {
    expected.forEach((v, i) => (worst = Math.max(worst, Math.abs(got[i] - v)))); // NaN stays NaN
  };
  for (let i = 0; i < eps.shape[0]; i++) {
    const z = flowInverse(model, row(eps, i));
    compare(z, row(latents, i));
    compare([logDensity(model, z)], row(log_density, i));
    compare(decode(model, z), row(images, i));
    compare(decode(model, row(eps, i)), row(plain, i));
  }
  return worst;
}

/* ----------------------------------------------------------------------------------------------- the page */

const SAMPLES = 24;
const STRIP = 7; // pictures along the walk
const VERIFIED = 1e-4; // a larger difference from PyTorch would be a fault

/** Independent N(0, 1) numbers: Marsaglia's xorshift, then Box and Muller. The same seed gives the same numbers. */
function normals(seed) {
  let state = seed;
  const uniform = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return ((state >>> 0) + 0.5) / 2 ** 32;
  };
  for (let i = 0; i < 20; i++) uniform(); // small seeds start with small numbers
  return (n) => Float32Array.from({ length: n }, () => {
    return Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  });
}

const mix = (a, b, wa, wb) => a.map((v, i) => wa * v + wb * b[i]);
const quantile = (sorted, q) => sorted[Math.round(q * (sorted.length - 1))];
const ascending = (values) => Float64Array.from(values).sort();

/** Draw pixels (C, H, W) in [0, 1] on a canvas of as many pixels. */
function paint(canvas, pixels, [channels, height, width]) {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let p = 0; p < width * height; p++) {
    for (let c = 0; c < 3; c++) image.data[4 * p + c] = 255 * pixels[(channels === 3 ? c : 0) * width * height + p];
    image.data[4 * p + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/** A canvas as sharp as the screen: its context, in CSS pixels, cleared, and its size. */
function clearedContext(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const ratio = window.devicePixelRatio || 1;
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return { context, width, height };
}

/** The theme's colours as they are now, light or dark. */
function themeColours(element) {
  const style = getComputedStyle(element);
  const colour = (name) => style.getPropertyValue(`--glf-${name}`).trim();
  return { text: colour("text"), real: colour("real"), sample: colour("sample"), chosen: colour("chosen") };
}

function startDemo(model, root, picture) {
  const template = document.getElementById("glf-demo-template");
  root.append(template.content.cloneNode(true));
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const [temperature, flowSwitch, blocks, walk] = ["temperature", "flow", "blocks", "walk"].map(part);
  const stillness = window.matchMedia("(prefers-reduced-motion: reduce)");

  const dim = model.latent_dim;
  const couplings = model.flow.filter((layer) => layer.type === "coupling").length;
  const reals = Array.from({ length: model.latents.shape[0] }, (_, i) => row(model.latents, i));
  const realDensities = ascending(reals.map((z) => logDensity(model, z)));
  /** The two leading principal components of a vector of length D. */
  const project = (z) => [0, 1].map((k) => sum(row(model.axes, k).map((v, i) => v * (z[i] - model.center.data[i]))));
  const realPoints = reals.map(project);
  const spread = (points) => sum(Float64Array.from(points.flat(), (v) => v * v));
  const shown = spread(realPoints) / spread(reals.map((z) => Array.from(z, (v, i) => v - model.center.data[i])));

  // What the reader has chosen, and the noise: 24 vectors, and one at the other end of the walk.
  let draw = normals(1);
  let noise = [];
  let destination = null;
  let chosen = 0;
  let stage = couplings; // how many couplings have been undone; in between while the points move
  let paths = []; // of the 24 samples at this temperature
  let walkPaths = []; // of the noises along the strip
  let chosenPath = []; // of the noise at the walk's slider

  const resample = () => (noise = Array.from({ length: SAMPLES }, () => draw(dim)));
  const redirect = () => (destination = draw(dim));

  /** Noise on the walk, t in [0, 1]. If both ends are N(0, I), so is every point between: cos^2 + sin^2 = 1. */
  const onWalk = (t) => {
    const [wa, wb] = [Math.cos((t * Math.PI) / 2), Math.sin((t * Math.PI) / 2)];
    return mix(noise[chosen], destination, wa, wb);
  };
  const pathOf = (eps) => flowPath(model, eps.map((v) => v * Number(temperature.value)));
  const pointAt = (path) => {
    const from = Math.min(Math.floor(stage), couplings - 1);
    return mix(path[from], path[from + 1], 1 - (stage - from), stage - from);
  };

  function recompute() {
    paths = noise.map(pathOf);
    walkPaths = Array.from({ length: STRIP }, (_, i) => pathOf(onWalk(i / (STRIP - 1))));
    chosenPath = pathOf(onWalk(Number(walk.value)));
  }

  // The grid: a group of radio buttons, so that arrow keys move through it; and the strip of the walk.
  const grid = part("grid");
  const tiles = Array.from({ length: SAMPLES }, (_, i) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "glf-sample", value: i });
    const canvas = document.createElement("canvas");
    input.setAttribute("aria-label", `Sample ${i + 1}`);
    input.checked = i === chosen;
    input.addEventListener("change", () => choose(i));
    label.append(input, canvas);
    grid.append(label);
    return { input, canvas };
  });
  const strip = Array.from({ length: STRIP }, () => part("strip").appendChild(document.createElement("canvas")));

  const show = (canvas, path) => paint(canvas, decode(model, pointAt(path)), model.image_shape);
  function drawSamples() {
    tiles.forEach(({ canvas }, i) => show(canvas, paths[i]));
    strip.forEach((canvas, i) => show(canvas, walkPaths[i]));
  }

  // Real latents, the samples and the way of the chosen one, in the plane of the two leading principal components.
  const map = part("map");
  const corners = ascending(realPoints.flat().map(Math.abs));
  const reach = 1.1 * Math.max(quantile(corners, 0.995), 3);
  const toMap = (z, width, height) => {
    const [x, y] = project(z);
    const scale = Math.min(width, height) / (2 * reach);
    return [width / 2 + scale * x, height / 2 - scale * y];
  };

  function drawMap() {
    const { context, width, height } = clearedContext(map);
    const colours = themeColours(root);
    const dot = ([x, y], radius) => {
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fill();
    };
    context.fillStyle = colours.real;
    context.globalAlpha = 0.55;
    for (const z of reals) dot(toMap(z, width, height), 1.6);
    context.globalAlpha = 1;
    context.fillStyle = colours.sample;
    for (const path of paths) dot(toMap(pointAt(path), width, height), 3);

    const way = chosenPath.map((z) => toMap(z, width, height));
    context.strokeStyle = context.fillStyle = colours.chosen;
    context.lineWidth = 2;
    context.beginPath();
    way.forEach(([x, y]) => context.lineTo(x, y));
    context.stroke();
    for (const point of way.slice(1)) dot(point, 2.5);
    const [first] = way; // a hollow square where it starts
    context.strokeRect(first[0] - 4, first[1] - 4, 8, 8);
    dot(toMap(pointAt(chosenPath), width, height), 6);
  }

  // The log-density of each of them under the flow, in all D dimensions, beside that of the real latents.
  const highest = quantile(realDensities, 1);
  const hot = normals(2); // how far hot noise is from there sets the axis
  const noiseDensities = Array.from({ length: 100 }, () => logDensity(model, hot(dim).map((v) => 1.5 * v)));
  const farthest = Math.log1p(highest + 1 - Math.min(...noiseDensities));
  /** Differences from the best real latent, on a logarithmic axis: noise is far below all of them. */
  const toAxis = (value, width) => {
    const far = Math.log1p(Math.max(highest + 1 - value, 0));
    return width - 14 - (width - 28) * Math.min(far / farthest, 1);
  };

  function drawDensities() {
    const { context, width, height } = clearedContext(part("densities"));
    const colours = themeColours(root);
    const base = height - 22;
    const bins = new Array(80).fill(0);
    const bin = (v) => Math.min(Math.floor((bins.length * toAxis(v, width)) / width), bins.length - 1);
    realDensities.forEach((v) => bins[bin(v)]++);
    const tallest = Math.max(...bins);
    context.fillStyle = colours.real;
    context.globalAlpha = 0.55;
    bins.forEach((count, i) => {
      const tall = (0.9 * base * count) / tallest;
      context.fillRect((i * width) / bins.length, base - tall, width / bins.length - 1, tall);
    });
    context.globalAlpha = 1;
    const line = (value, tall, thickness, colour) => {
      context.fillStyle = colour;
      context.fillRect(toAxis(value, width) - thickness / 2, base - tall, thickness, tall);
    };
    for (const path of paths) line(logDensity(model, pointAt(path)), 0.45 * base, 2, colours.sample);
    line(logDensity(model, pointAt(chosenPath)), 0.8 * base, 4, colours.chosen);
    context.fillStyle = colours.text;
    context.fillRect(0, base, width, 1);
    context.font = "12px sans-serif";
    context.textAlign = "center";
    let free = width; // labels from right to left, where there is room
    for (const nats of [0, -10, -20, -50, -100, -200, -500, -1000]) {
      const x = toAxis(nats, width);
      if (nats > highest || x > free - 22 || x < 20) continue;
      context.fillRect(x, base, 1, 4);
      context.fillText(String(nats).replace("-", "\u2212"), x, height - 5);
      free = x - 22;
    }
  }

  const nats = (value) => value.toFixed(1).replace("-", "\u2212");
  const medianDensity = () => quantile(ascending(paths.map((path) => logDensity(model, pointAt(path)))), 0.5);

  function drawReadings() {
    const scale = Number(temperature.value).toFixed(2);
    const done = Math.round(stage);
    part("temperature-value").textContent = scale;
    part("blocks-value").textContent = `${blocks.value} of ${couplings}`;
    blocks.setAttribute("aria-valuetext", `${blocks.value} of ${couplings} blocks`);
    flowSwitch.checked = Number(blocks.value) > 0;
    const percent = Math.round(100 * Number(walk.value));
    part("walk-value").textContent = `${percent} %`;
    walk.setAttribute("aria-valuetext", `${percent} percent of the way`);
    const where = percent ? `Sample ${chosen + 1}, ${percent} % of the way` : `Sample ${chosen + 1}`;
    part("chosen-value").textContent = `${where}: log-density ${nats(logDensity(model, pointAt(chosenPath)))} nats`;
    map.setAttribute(
      "aria-label",
      `Map of ${reals.length} real latents and ${SAMPLES} samples after ${done} of ${couplings} blocks of the flow.`,
    );
    part("densities").setAttribute(
      "aria-label",
      `Log-density under the flow. Real latents: 90 % between ${nats(quantile(realDensities, 0.05))} and ` +
        `${nats(quantile(realDensities, 0.95))} nats. The ${SAMPLES} samples: median ${nats(medianDensity())} nats.`,
    );
  }

  /** Say in words what an action has changed, for those who do not see the pictures. */
  function announce(what) {
    const [samples, real] = [nats(medianDensity()), nats(quantile(realDensities, 0.5))];
    part("status").textContent = `${what}. Median log-density: samples ${samples} nats, real latents ${real} nats.`;
  }

  function drawChosen() {
    show(part("chosen"), chosenPath);
    drawMap();
    drawDensities();
    drawReadings();
  }

  function redraw() {
    drawSamples();
    drawChosen();
  }

  let frame = 0;
  /** Move all points to the stage that the slider of the blocks says: along their ways, or at once. */
  function moveTo(what) {
    const target = Number(blocks.value);
    const [from, start] = [stage, performance.now()];
    const duration = stillness.matches ? 0 : 350 * Math.abs(target - from);
    cancelAnimationFrame(frame);
    const step = (now) => {
      const share = duration ? Math.min(Math.max((now - start) / duration, 0), 1) : 1;
      stage = from + share * (target - from);
      redraw();
      if (share < 1) frame = requestAnimationFrame(step);
      else announce(what);
    };
    step(start);
  }

  function choose(i) {
    chosen = i;
    tiles[i].input.checked = true;
    walk.value = 0;
    recompute();
    redraw();
  }

  part("resample").addEventListener("click", () => {
    const start = performance.now();
    resample();
    choose(chosen);
    part("speed").textContent = Math.ceil(performance.now() - start);
    announce(`${SAMPLES} new samples`);
  });
  temperature.addEventListener("input", () => {
    recompute();
    redraw();
  });
  temperature.addEventListener("change", () => announce(`Temperature ${Number(temperature.value).toFixed(2)}`));
  flowSwitch.addEventListener("change", () => {
    blocks.value = flowSwitch.checked ? couplings : 0;
    moveTo(flowSwitch.checked ? "Flow on" : "Flow off");
  });
  blocks.addEventListener("input", () => moveTo(`${blocks.value} of ${couplings} blocks`));
  walk.addEventListener("input", () => {
    chosenPath = pathOf(onWalk(Number(walk.value)));
    drawChosen();
  });
  part("redirect").addEventListener("click", () => {
    redirect();
    recompute();
    redraw();
    announce("New end of the walk");
  });
  map.addEventListener("click", (event) => {
    const { left, top, width, height } = map.getBoundingClientRect();
    const distances = paths.map((path) => {
      const [x, y] = toMap(pointAt(path), width, height);
      return Math.hypot(x - (event.clientX - left), y - (event.clientY - top));
    });
    choose(distances.indexOf(Math.min(...distances)));
  });

  blocks.max = blocks.value = couplings;
  part("share").textContent = `${Math.round(100 * shown)} %`;
  part("dim").textContent = dim;
  resample();
  redirect();
  recompute();
  picture.hidden = true;
  root.hidden = false;
  const start = performance.now();
  redraw();
  part("speed").textContent = Math.ceil(performance.now() - start);
  new ResizeObserver(() => [drawMap(), drawDensities()]).observe(root);
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  root.dataset.ready = "true";
}

/** Put the demonstration in the picture's place; where anything is wrong, the picture stays. */
function start() {
  const root = document.getElementById("glf-demo");
  if (!root || typeof GLF_MODEL === "undefined") return;
  const model = readModel(GLF_MODEL);
  const difference = selfCheck(model);
  if (!(difference < VERIFIED)) throw new Error(`demo.js differs from PyTorch by ${difference}; the picture stays`);
  startDemo(model, root, document.getElementById("glf-demo-picture"));
  root.querySelector('[data-part="difference"]').textContent = difference.toExponential(0);
}

if (typeof document !== "undefined") {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
}
if (typeof module !== "undefined") {
  module.exports = { readModel, row, decode, flowForward, flowInverse, flowPath, logDensity, selfCheck };
}
