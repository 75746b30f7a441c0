// The gallery: filters, sorts and pages through the samples, and shows one of them in a dialog. What is shown stands in
// the address behind the "#", so any view is a link. Text of datasets and models only ever becomes textContent.
(() => {
  "use strict";

  const data = JSON.parse(document.getElementById("data").textContent);
  const samples = data.samples;
  const PAGE = 48;
  const EMPTY = { q: "", category: "", state: "", min: "", max: "", flag: "", sort: "0", page: "1", sample: "", view: "side" };
  const $ = (id) => document.getElementById(id);
  const pictured = samples.some((sample) => sample.images?.some(Boolean));
  const form = $("filters"), grid = $("grid"), viewer = $("viewer");

  let state = { ...EMPTY };
  let found = samples; // what the filters leave, sorted
  let pair = data.image_names.length > 2 ? [1, 2] : [0, 1]; // images that slider and difference show

  for (const sample of samples) {
    sample.haystack = [sample.id, sample.instruction, sample.rewritten, sample.also, sample.description, sample.reply, sample.completion, sample.cause]
      .filter(Boolean).join("\n").toLowerCase();
  }

  // ---- elements

  function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  function score(value) {
    if (value === undefined || value === null) return "–";
    const text = Math.abs(value).toFixed(2);
    return (value < 0 ? "−" : data.signed && value > 0 ? "+" : "") + text;
  }

  const plainScore = (value) => (value === undefined || value === null ? "–" : value.toFixed(2));

  const image = (sample, place, lazy) => pictureOf(sample, data.image_names[place], sample.images?.[place], lazy);

  // Further source images of a sample that has several: name and picture of each.
  const moreSources = (sample, lazy) => (sample.more_sources ?? []).map((path, number) => {
    const name = `${data.image_names[0]} ${number + 2}`;
    return [name, pictureOf(sample, name, path, lazy)];
  });

  function pictureOf(sample, name, path, lazy) {
    if (!path) return element("div", { className: "missing", textContent: "no image" });
    const picture = element("img", { alt: `${name} of ${sample.id}`, width: 512, height: 512, decoding: "async" });
    if (lazy) picture.loading = "lazy";
    picture.addEventListener("error", () => {
      picture.replaceWith(element("div", { className: "missing", textContent: "image not found beside this page" }));
    }, { once: true });
    picture.src = data.inlined?.[path] ?? path;
    return picture;
  }

  // ---- state and address

  function readAddress() {
    const hash = location.hash.slice(1);
    if (hash && !hash.includes("=")) return false; // an anchor of the page
    const given = Object.fromEntries(new URLSearchParams(hash));
    state = { ...EMPTY };
    for (const key of Object.keys(EMPTY)) if (key in given) state[key] = given[key];
    return true;
  }

  function address(changes = {}) {
    const wanted = { ...state, ...changes };
    const given = Object.entries(wanted).filter(([key, value]) => String(value) !== EMPTY[key]);
    return `#${new URLSearchParams(given)}`;
  }

  function writeAddress() {
    const hash = address();
    if (hash !== (location.hash || "#")) history.replaceState(null, "", hash === "#" ? location.pathname + location.search : hash);
  }

  // ---- filter and sort

  function matches(sample) {
    const value = sample.score;
    return (!state.category || sample.category === state.category)
      && (!state.state || sample.state === state.state)
      && (!state.flag || (sample.flags ?? []).includes(state.flag))
      && (state.min === "" || (value !== undefined && value >= Number(state.min)))
      && (state.max === "" || (value !== undefined && value <= Number(state.max)))
      && (!state.q || sample.haystack.includes(state.q.toLowerCase()));
  }

  function sorted(list) {
    const [, key, way] = data.sorts[Number(state.sort)] ?? data.sorts[0];
    if (!key) return list;
    const value = (sample) => sample[key] ?? sample.values?.[key];
    const known = list.filter((sample) => value(sample) !== undefined);
    const unknown = list.filter((sample) => value(sample) === undefined); // always last
    const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    return [...known.sort((a, b) => way * order(value(a), value(b))), ...unknown];
  }

  // ---- grid

  function card(sample) {
    const thumbs = element("div", { className: "thumbs" });
    data.image_names.forEach((name, place) => {
      const caption = element("figcaption", {}, element("span", { textContent: name, dir: "auto" }));
      if (sample.scores && place) caption.append(element("span", { textContent: plainScore(sample.scores[place]) }));
      const pictures = pictured ? [image(sample, place, true)] : [];
      thumbs.append(element("figure", { className: "thumb" }, ...pictures, caption));
      if (place) return;
      for (const [title, picture] of pictured ? moreSources(sample, true) : []) {
        thumbs.append(element("figure", { className: "thumb" }, picture, element("figcaption", {}, element("span", { textContent: title }))));
      }
    });
    const link = element("a", { href: address({ sample: sample.id }), textContent: sample.id, dir: "auto", title: sample.id });
    const line = element("p", { className: "line" },
      element("span", { className: `score ${data.signed ? sample.state : ""}`, textContent: score(sample.score) }),
      link);
    const text = element("div", { className: "text" }, line,
      element("p", { className: "where", dir: "auto" }, element("span", { textContent: sample.category }), ...tags(sample)));
    if (sample.instruction) text.append(element("p", { className: "instruction", textContent: sample.instruction, dir: "auto" }));
    return element("article", { className: "card" }, ...(pictured || sample.scores ? [thumbs] : []), text);
  }

  function tags(sample) {
    const made = (sample.flags ?? []).map((flag) => element("span", { className: "tag", textContent: flag }));
    if (!data.signed && sample.state !== "scored") {
      const waits = sample.state === "pending" || sample.state === "edited";
      made.unshift(element("span", { className: waits ? "tag" : "tag bad", textContent: data.state_names[sample.state] ?? sample.state }));
    }
    return made;
  }

  function showGrid() {
    found = sorted(samples.filter(matches));
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    const page = Math.min(Math.max(1, Math.floor(Number(state.page)) || 1), pages);
    state.page = String(page);
    grid.classList.toggle("wide", data.image_names.length > 2);
    grid.replaceChildren(...found.slice((page - 1) * PAGE, page * PAGE).map(card));
    const all = samples.length.toLocaleString("en");
    $("found").textContent = found.length === samples.length ? `${all} samples` : `${found.length.toLocaleString("en")} of ${all} samples`;
    $("page").textContent = `Page ${page} of ${pages}`;
    $("pages").hidden = pages === 1;
    const [back, on] = $("pages").querySelectorAll("button");
    back.disabled = page === 1;
    on.disabled = page === pages;
  }

  function showForm() {
    for (const control of form.elements) {
      if (control.name && control !== document.activeElement) control.value = state[control.name];
    }
  }

  function showAll() {
    showForm();
    showGrid();
    showViewer();
  }

  // ---- one sample

  function showViewer() {
    const sample = state.sample && samples.find((candidate) => candidate.id === state.sample);
    if (!sample) {
      if (viewer.open) viewer.close();
      return;
    }
    const place = found.indexOf(sample);
    $("viewer-place").textContent = place < 0 ? "not among the filtered samples" : `${(place + 1).toLocaleString("en")} of ${found.length.toLocaleString("en")}`;
    for (const button of viewer.querySelectorAll("[data-go]")) {
      button.disabled = place < 0 || !found[place + Number(button.dataset.go)];
    }
    $("viewer-title").textContent = sample.id;
    const name = data.state_names[sample.state] ?? sample.state;
    $("viewer-summary").replaceChildren(
      element("b", { className: data.signed ? sample.state : "", textContent: sample.score === undefined ? "no score" : score(sample.score) }), ` ${name} · ${sample.category}`, " ",
      ...(sample.flags ?? []).map((flag) => element("span", { className: "tag", textContent: flag })));
    showImages(sample);
    showTexts(sample);
    if (!viewer.open) {
      viewer.showModal();
      $("viewer-title").focus();
    }
  }

  function showImages(sample) {
    for (const button of viewer.querySelectorAll("[data-mode]")) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === state.view));
    }
    const side = state.view !== "slider" && state.view !== "difference";
    for (const label of viewer.querySelectorAll(".pick")) label.hidden = side || data.image_names.length < 3;
    $("viewer-gain").hidden = state.view !== "difference";
    $("viewer-stretched").hidden = true;
    const box = $("viewer-images");
    if (side) {
      const shown = data.image_names.map((name, place) => element("figure", {},
        element("figcaption", { textContent: sample.scores && place ? `${name}: ${plainScore(sample.scores[place])}` : name }),
        image(sample, place)));
      const more = moreSources(sample).map(([name, picture]) => element("figure", {}, element("figcaption", { textContent: name }), picture));
      const wanted = sample.reference === undefined ? [] : [element("figure", {},
        element("figcaption", { textContent: "reference" }), pictureOf(sample, "reference", sample.reference))];
      box.replaceChildren(shown[0], ...more, ...shown.slice(1), ...wanted);
      return;
    }
    if (pair.some((place) => !sample.images?.[place])) {
      box.replaceChildren(element("div", { className: "missing", textContent: "there are not two images to compare" }));
      return;
    }
    box.replaceChildren(element("div", { className: "fitted" }, stack(sample), ends()));
  }

  function stack(sample) {
    const pictures = pair.map((place) => image(sample, place));
    const made = element("div", { className: `stack ${state.view}` }, ...pictures);
    pictures.forEach((picture) => {
      picture.removeAttribute("width");
      picture.removeAttribute("height");
      picture.addEventListener("load", () => compareShapes(pictures));
    });
    if (state.view === "slider") {
      const range = element("input", { type: "range", min: 0, max: 100, value: 50 });
      range.setAttribute("aria-label", `Slider between ${pair.map((place) => data.image_names[place]).join(" and ")}`);
      range.addEventListener("input", () => made.style.setProperty("--cut", `${range.value}%`));
      made.append(range);
    } else {
      made.style.setProperty("--gain", $("viewer-gain").querySelector("input").value);
    }
    return made;
  }

  function ends() {
    const names = pair.map((place) => data.image_names[place]);
    if (state.view === "difference") return element("p", { className: "ends", textContent: `Black: ${names.join(" and ")} are alike` });
    return element("p", { className: "ends" }, ...names.map((name) => element("span", { textContent: name })));
  }

  function compareShapes(pictures) {
    const ratios = pictures.map((picture) => picture.naturalWidth / picture.naturalHeight);
    if (ratios.every(Number.isFinite)) $("viewer-stretched").hidden = Math.abs(ratios[0] / ratios[1] - 1) < 0.01;
  }

  function showTexts(sample) {
    const texts = [["Instruction", sample.instruction], ["Rewritten for the editor", sample.rewritten], ["In the other language", sample.also], ["Description", sample.description], ["What went wrong", sample.cause],
      ["Reply of the judge", sample.reply, "pre"], ["Completion behind “Score:”", sample.completion, "pre"]];
    $("viewer-texts").replaceChildren(...texts.filter(([, text]) => text).map(([name, text, tag]) => element("div", {},
      element("h3", { textContent: name }), element(tag ?? "p", { textContent: text, dir: "auto" }))));
    for (const block of $("viewer-texts").querySelectorAll("pre")) block.tabIndex = 0;
    const facts = data.fact_names.map((name, place) => [name, sample.facts?.[place]]).filter(([, value]) => value);
    $("viewer-facts").replaceChildren(...facts.map(([name, value]) => element("div", {},
      element("dt", { textContent: name }), element("dd", { textContent: value }))));
  }

  function go(step) {
    const next = found[found.findIndex((sample) => sample.id === state.sample) + step];
    if (!next || !state.sample) return;
    state.sample = next.id;
    state.page = String(Math.floor(found.indexOf(next) / PAGE) + 1);
    writeAddress();
    showViewer();
    $("viewer-body").scrollTop = 0;
  }

  // ---- events

  form.addEventListener("input", () => {
    for (const control of form.elements) if (control.name) state[control.name] = control.value;
    state.page = "1";
    writeAddress();
    showGrid();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    state = { ...EMPTY, view: state.view };
    for (const control of form.elements) if (control.name) control.value = state[control.name];
    writeAddress();
    showGrid();
  });
  $("pages").addEventListener("click", (event) => {
    const step = Number(event.target.dataset?.step);
    if (!step) return;
    state.page = String(Number(state.page) + step);
    writeAddress();
    showGrid();
    $("samples").scrollIntoView();
  });
  grid.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const links = [...grid.querySelectorAll("a")];
    const place = links.indexOf(event.target);
    if (!step || place < 0) return;
    event.preventDefault();
    links[place + step]?.focus();
  });
  viewer.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey || ["INPUT", "SELECT"].includes(event.target.tagName)) return;
    event.preventDefault();
    go(step);
  });
  viewer.addEventListener("click", (event) => {
    const { go: step, mode } = event.target.dataset ?? {};
    if (step) go(Number(step));
    if (mode) {
      state.view = mode;
      writeAddress();
      showViewer();
    }
    if (event.target === viewer) viewer.close(); // the backdrop
  });
  viewer.addEventListener("close", () => {
    if (!state.sample) return;
    const id = state.sample;
    state.sample = "";
    writeAddress();
    showGrid();
    [...grid.querySelectorAll("a")].find((link) => link.textContent === id)?.focus();
  });
  $("viewer-close").addEventListener("click", () => viewer.close());
  $("viewer-copy").addEventListener("click", (event) => window.copyText(location.href, event.target));
  $("viewer-gain").addEventListener("input", (event) => {
    viewer.querySelector(".stack")?.style.setProperty("--gain", event.target.value);
  });
  ["viewer-left", "viewer-right"].forEach((id, end) => {
    const select = $(id);
    data.image_names.forEach((name, place) => select.append(element("option", { value: place, textContent: name })));
    select.value = String(pair[end]);
    select.addEventListener("change", () => {
      pair[end] = Number(select.value);
      showViewer();
    });
  });
  window.addEventListener("hashchange", () => {
    if (!readAddress()) return;
    if (document.activeElement?.form === form) document.activeElement.blur();
    showAll();
    if (!state.sample) $("samples").scrollIntoView();
  });

  form.hidden = false;
  $("no-script").hidden = true;
  const linked = readAddress() && location.hash.length > 1;
  showAll();
  if (linked && !state.sample) $("samples").scrollIntoView();
})();
