"use strict";
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const root = document.documentElement;
  const darkMedia = matchMedia("(prefers-color-scheme: dark)");
  const byId = (id) => document.getElementById(id);

  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text; // never as HTML: it comes from data and models
    return made;
  };

  // ------------------------------------------------------------ light and dark

  const remembered = () => { try { return localStorage.getItem("slingshot-theme"); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem("slingshot-theme", theme); } catch { /* a file may have no storage */ } };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : darkMedia.matches);
  let printing = false;

  const showTheme = () => {
    byId("theme").setAttribute("aria-pressed", String(isDark()));
    byId("theme").textContent = isDark() ? "Light" : "Dark";
    byId("theme").setAttribute("aria-label", isDark() ? "Switch to light colours" : "Switch to dark colours");
    byId("theme").removeAttribute("aria-pressed");
    drawn.forEach(recolour);
  };

  // ------------------------------------------------------------ figures

  const drawn = new Set();
  const config = { displayModeBar: false, responsive: false, showTips: false };

  const colours = () => (isDark() && !printing
    ? { ink: "#e6e8eb", grid: "#3a4048", ground: "#1d2126", page: "#14171b" }
    : { ink: "#1f2328", grid: "#d9dde2", ground: "#ffffff", page: "#ffffff" });

  const themed = () => {
    const { ink, grid, ground } = colours();
    const settings = { "font.color": ink, "hoverlabel.bgcolor": ground, "hoverlabel.font.color": ink, "hoverlabel.bordercolor": grid };
    for (const axis of ["xaxis", "yaxis"]) {
      settings[`${axis}.gridcolor`] = grid;
      settings[`${axis}.linecolor`] = grid;
    }
    return settings;
  };

  const recolour = (element) => window.Plotly.relayout(element, themed());

  // On a narrow screen legends and labels take room that the plot needs: less of both.
  const layoutFor = (name, width) => {
    const layout = structuredClone(data.figures[name].layout);
    layout.width = width;
    layout.autosize = false;
    if (width < 520) {
      layout.font = { ...layout.font, size: 11 };
      for (const annotation of layout.annotations ?? []) annotation.font = { ...annotation.font, size: 10.5 };
      for (const axis of [layout.xaxis, layout.yaxis]) if (axis?.title?.text) axis.title.font = { size: 11 };
      // Names of rows give up their middle: what stands in brackets at their end is kept.
      const short = (text) => (text.length > 20 ? text.replace(/^(.{13}).*?( \(\d[\d,]*\))?$/, "$1…$2") : text);
      // The column of text beside the paired differences goes above their intervals.
      if (name === "paired_differences") {
        layout.xaxis.domain = [0, 1];
        layout.height += 14 * layout.annotations.length;
        for (const annotation of layout.annotations) Object.assign(annotation, { yshift: 13, bgcolor: colours().page });
      }
      if (layout.yaxis?.ticktext) layout.yaxis.ticktext = layout.yaxis.ticktext.map(short);
      // Legend entries stand in a column of their own above the plot, which grows by as much.
      if (layout.showlegend) {
        const entries = data.figures[name].data.filter((trace) => trace.showlegend !== false && trace.name).length;
        layout.height += Math.max(0, entries - 3) * 14;
      }
    }
    return layout;
  };

  const draw = async (element, width) => {
    const name = element.dataset.figure;
    element.style.minHeight = "0";
    element.querySelector(".waiting")?.remove();
    await window.Plotly.react(element, structuredClone(data.figures[name].data), layoutFor(name, width ?? element.clientWidth), config);
    drawn.add(element);
    await recolour(element);
  };

  const redrawAll = (width) => { for (const element of drawn) if (width || element.clientWidth) draw(element, width); };

  const unpack = async (id) => {
    const packed = Uint8Array.from(atob(byId(id).textContent.trim()), (character) => character.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };

  const drawFigures = async () => {
    const source = document.createElement("script");
    source.textContent = await unpack("plotly-source"); // the page's policy knows its digest
    document.body.append(source);
    const plots = [...document.querySelectorAll(".plot")];
    for (const element of plots) if (element.clientWidth) await draw(element);
    // A figure inside a fold has no width until the fold is opened.
    for (const fold of document.querySelectorAll("details")) {
      fold.addEventListener("toggle", () => {
        if (!printing) for (const element of fold.querySelectorAll(".plot")) if (fold.open && !drawn.has(element)) draw(element);
      });
    }
    root.dataset.figures = "drawn";
    let timer;
    let width = innerWidth;
    addEventListener("resize", () => {
      if (innerWidth === width || printing) return;
      width = innerWidth;
      clearTimeout(timer);
      timer = setTimeout(() => redrawAll(), 150);
    });
    const paper = 660; // CSS pixels between the margins of an A4 page
    let opened = [];
    addEventListener("beforeprint", () => {
      printing = true;
      opened = [...document.querySelectorAll("details.fold:not([open]), details.card:not([open])")];
      for (const fold of opened) fold.open = true;
      for (const element of plots) draw(element, paper);
    });
    addEventListener("afterprint", () => {
      printing = false;
      redrawAll();
      for (const fold of opened) fold.open = false;
    });
  };

  const saveFigure = async (name) => {
    const { data: traces, layout } = structuredClone(data.figures[name]);
    Object.assign(layout, { width: 760, paper_bgcolor: "#ffffff", plot_bgcolor: "#ffffff", font: { ...layout.font, color: "#1f2328" } });
    await window.Plotly.downloadImage({ data: traces, layout }, { format: "svg", filename: name, width: 760, height: layout.height });
  };

  const setUpFigures = () => {
    for (const button of document.querySelectorAll("[data-save]")) button.addEventListener("click", () => saveFigure(button.dataset.save));
    for (const button of document.querySelectorAll("[data-save-from]")) button.addEventListener("click", () => saveFigure(byId(button.dataset.saveFrom).dataset.figure));
    byId("confusion-arm")?.addEventListener("change", (event) => {
      const element = byId("confusion-plot");
      element.dataset.figure = event.target.value;
      element.setAttribute("aria-label", `Confusion of ${event.target.selectedOptions[0].textContent}; the tables hold the counts.`);
      if (drawn.has(element)) draw(element);
    });
  };

  // ------------------------------------------------------------ tables and downloads

  const keyOf = (cell) => {
    const value = cell.dataset.value;
    if (value === undefined) return cell.textContent.trim();
    return value === "" ? null : Number(value);
  };

  const compare = (first, second) => (typeof first === "number" && typeof second === "number"
    ? first - second
    : String(first).localeCompare(String(second), "en", { numeric: true }));

  const sortBy = (table, heading) => {
    const place = [...heading.parentElement.children].indexOf(heading);
    const number = heading.classList.contains("number");
    const before = heading.getAttribute("aria-sort");
    // Numbers start with the largest, words with the first of the alphabet; cells without a value stay last.
    const ascending = before === "none" ? !number : before === "descending";
    const rows = [...table.tBodies[0].rows].map((row) => ({ row, key: keyOf(row.cells[place]) }));
    rows.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
      return ascending ? compare(a.key, b.key) : compare(b.key, a.key);
    });
    table.tBodies[0].append(...rows.map(({ row }) => row));
    for (const other of heading.parentElement.children) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  };

  const save = (name, text, type) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };

  // Where a table goes on beyond the page's edge, a line below it says so.
  const hintAtMore = () => {
    for (const box of document.querySelectorAll(".scroll")) {
      const beyond = box.scrollWidth > box.clientWidth + 4 && box.clientWidth > 0;
      const hint = box.nextElementSibling?.classList.contains("beyond") ? box.nextElementSibling : null;
      if (beyond && !hint) box.after(element("p", "small beyond", "more columns to the right →"));
      if (!beyond && hint) hint.remove();
    }
  };

  const setUpTables = () => {
    hintAtMore();
    addEventListener("resize", hintAtMore);
    for (const fold of document.querySelectorAll("details")) fold.addEventListener("toggle", hintAtMore);
    for (const table of document.querySelectorAll("table.sorts")) {
      for (const button of table.tHead.querySelectorAll(".sort")) button.addEventListener("click", () => sortBy(table, button.closest("th")));
    }
    for (const button of document.querySelectorAll("[data-download]")) {
      const name = button.dataset.download;
      button.addEventListener("click", () => save(name, data.downloads[name], name.endsWith(".csv") ? "text/csv" : "text/plain"));
    }
  };

  // ------------------------------------------------------------ samples

  const PER_PAGE = innerWidth < 640 ? 10 : 20;

  const setUpSamples = async () => {
    if (!byId("samples")) return;
    const all = JSON.parse(await unpack("samples"));
    const { arms, answers } = all;
    const several = Array.isArray(all.labels[0]); // sets of labels: lists instead of texts
    const textOf = (value) => (Array.isArray(value) ? value.join("; ") : value);
    const codeOf = (arm, sample) => answers.codes[answers.arms[arm].code[sample]] ?? null;
    const rawOf = (arm, sample) => answers.raws[answers.arms[arm].raw[sample]] ?? "";
    const noteOf = (arm, sample) => answers.notes[answers.arms[arm].note[sample]] ?? {};
    const chapterOf = (sample) => all.chapters.values[all.chapters.index[sample]];
    const descriptionOf = (sample) => all.descriptions.values[all.descriptions.index[sample]];
    const resultOf = (arm, sample) => {
      const code = codeOf(arm, sample);
      if (code === null) return "unread";
      if (!several) return code === all.labels[sample] ? "right" : "wrong";
      const labels = new Set(all.labels[sample]);
      return code.length === labels.size && code.every((one) => labels.has(one)) ? "right" : "wrong";
    };
    const matches = (result, wanted) => result === wanted || (wanted === "wrong" && result === "unread");
    let found = [];
    let page = 0;

    arms.forEach((arm, index) => byId("filter-arm").append(new Option(arm, String(index))));
    const chapters = [...new Set(all.chapters.values.filter(Boolean))].sort(compare);
    for (const chapter of chapters) {
      const title = all.titles[chapter];
      byId("filter-chapter").append(new Option(title ? `${chapter} ${title}` : chapter, chapter));
    }
    byId("filter-chapter-control").hidden = chapters.length === 0;

    const wanted = (sample, arm, result, chapter, words) => {
      if (chapter && chapterOf(sample) !== chapter) return false;
      if (result && arm !== "" && !matches(resultOf(Number(arm), sample), result)) return false;
      if (result && arm === "" && !arms.some((_, index) => matches(resultOf(index, sample), result))) return false;
      if (!words) return true;
      const asked = arm === "" ? arms.map((_, index) => index) : [Number(arm)];
      const fields = [all.ids[sample], all.texts[sample], textOf(all.labels[sample]), descriptionOf(sample), ...asked.flatMap((index) => [textOf(codeOf(index, sample)) ?? "", rawOf(index, sample), ...Object.values(noteOf(index, sample))])];
      return fields.some((text) => text.toLowerCase().includes(words));
    };

    // Right, extra and missed labels of a set, in this order.
    const setCell = (arm, sample) => {
      const codes = codeOf(arm, sample);
      const cell = element("td");
      if (codes === null) return cell;
      const labels = all.labels[sample];
      const parts = [
        ...codes.filter((code) => labels.includes(code)).map((code) => ["right", `✓ ${code}`]),
        ...codes.filter((code) => !labels.includes(code)).map((code) => ["extra", `+ ${code}`]),
        ...labels.filter((label) => !codes.includes(label)).map((label) => ["missed", `− ${label}`]),
      ];
      for (const [kind, text] of parts) cell.append(element("span", `label ${kind}`, text), " ");
      if (!parts.length) cell.append("no label, rightly");
      return cell;
    };

    const answerRow = (arm, sample) => {
      const row = element("tr");
      const result = resultOf(arm, sample);
      const name = element("th", "", arms[arm]);
      name.scope = "row";
      row.append(name);
      const labels = all.labels[sample];
      const hits = several && result === "wrong" ? codeOf(arm, sample).filter((code) => labels.includes(code)).length : 0;
      const marks = { right: "✓ right", wrong: several ? `✗ ${hits} of ${labels.length}` : "✗ wrong", unread: "✗ not readable" };
      row.append(element("td", `mark ${result}`, marks[result]));
      const answer = several ? setCell(arm, sample) : element("td", "", codeOf(arm, sample) ?? "");
      const raw = rawOf(arm, sample);
      if (raw) answer.append(" ", element("span", "raw", `“${raw}”`));
      const note = noteOf(arm, sample);
      for (const [key, before] of [["ended", "ended by"], ["refusal", "refused:"], ["error", "no answer:"]]) {
        if (note[key]) answer.append(" ", element("span", `note ${key}`, `${before} ${note[key]}`));
      }
      if (note.thinking) {
        const thought = element("details", "note thinking");
        thought.append(element("summary", "", "Thinking"), element("p", "raw", note.thinking));
        answer.append(thought);
      }
      row.append(answer);
      return row;
    };

    const card = (sample, isFirst) => {
      const item = element("li");
      const description = descriptionOf(sample);
      const label = textOf(all.labels[sample]) || "no label";
      const truth = element("span", "truth", description && description !== label ? `${label} ${several ? "· " : ""}${description} ` : `${label} `);
      truth.append(element("span", "sample-id", `sample ${all.ids[sample]}`));
      const text = element("p", "text short", all.texts[sample]);
      const rights = arms.filter((_, index) => resultOf(index, sample) === "right").length;
      const inside = element("details", "card");
      inside.open = isFirst;
      const summary = element("summary");
      truth.append(" ", element("span", "score", `${rights} of ${arms.length} right`));
      summary.append(truth);
      inside.append(summary, text);
      item.append(inside);
      if (all.texts[sample].length > 300 || all.texts[sample].split("\n").length > 4) {
        const more = element("button", "", "Whole text");
        more.type = "button";
        more.setAttribute("aria-expanded", "false");
        more.addEventListener("click", () => {
          const short = text.classList.toggle("short");
          more.textContent = short ? "Whole text" : "Less text";
          more.setAttribute("aria-expanded", String(!short));
        });
        inside.append(more);
      }
      const scroll = element("div");
      const table = element("table", "answers");
      const caption = element("caption", "hidden", `Answers for sample ${all.ids[sample]}`);
      const body = element("tbody");
      const chosen = byId("filter-arm").value;
      (chosen === "" ? arms.map((_, index) => index) : [Number(chosen), ...arms.map((_, index) => index).filter((index) => index !== Number(chosen))])
        .forEach((index) => body.append(answerRow(index, sample)));
      table.append(caption, body);
      scroll.append(table);
      inside.append(scroll);
      return item;
    };

    const show = () => {
      const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
      page = Math.min(Math.max(page, 0), pages - 1);
      byId("samples-list").replaceChildren(...found.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map((sample, index) => card(sample, index === 0)));
      byId("found").textContent = `${found.length.toLocaleString("en")} of ${all.ids.length.toLocaleString("en")} samples`;
      byId("pages").textContent = `Page ${page + 1} of ${pages}`;
      byId("previous").disabled = page === 0;
      byId("next").disabled = page >= pages - 1;
    };

    const filter = () => {
      const [arm, result, chapter] = ["filter-arm", "filter-result", "filter-chapter"].map((id) => byId(id).value);
      const words = byId("filter-text").value.trim().toLowerCase();
      found = all.ids.map((_, sample) => sample).filter((sample) => wanted(sample, arm, result, chapter, words));
      page = 0;
      show();
    };

    for (const id of ["filter-arm", "filter-result", "filter-chapter"]) byId(id).addEventListener("change", filter);
    let timer;
    byId("filter-text").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(filter, 200); });
    byId("filters").addEventListener("submit", (event) => { event.preventDefault(); filter(); });
    const turn = (by) => { page += by; show(); byId("errors").scrollIntoView(); };
    byId("previous").addEventListener("click", () => turn(-1));
    byId("next").addEventListener("click", () => turn(1));
    filter();
    root.dataset.samples = "shown";
  };

  // ------------------------------------------------------------ start

  const chosen = remembered();
  if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    showTheme();
  });
  darkMedia.addEventListener("change", showTheme);
  showTheme();
  setUpTables();
  setUpFigures();
  if (typeof DecompressionStream === "undefined") {
    for (const text of document.querySelectorAll(".waiting")) text.textContent = "This browser is too old to draw this figure; its numbers are in the table below.";
    return;
  }
  setUpSamples();
  drawFigures();
})();
