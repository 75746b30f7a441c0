// Copies a table of the page as Markdown, CSV or LaTeX. CSV has the full numbers, the others what people read.
(() => {
  "use strict";

  const text = (cell) => cell.textContent.trim();

  const rows = (table) => [...table.rows].map((row) => [...row.cells]);

  const flushLeft = (cell) => cell.classList.contains("text");

  function markdown(table) {
    const clean = (cell) => text(cell).replace(/[\\`*_[\]|<>~$&]/g, "\\$&").replace(/\s+/g, " ");
    const lines = rows(table).map((cells) => `| ${cells.map(clean).join(" | ")} |`);
    const rule = rows(table)[0].map((cell) => (flushLeft(cell) ? ":---" : "---:"));
    lines.splice(1, 0, `| ${rule.join(" | ")} |`);
    return lines.join("\n") + "\n";
  }

  function csv(table) {
    const values = (cell) => cell.dataset.values === undefined ? [words(text(cell))] : cell.dataset.values.split("|");
    // Text that a spreadsheet would take for a formula is kept text.
    const words = (value) => (/^[=+\-@\t\r]/.test(value) ? `'${value}` : value);
    const quoted = (value) => (/[",\n\r]/.test(value) ? `"${value.replace(/"/g, '""')}"` : value);
    return rows(table).map((cells) => cells.flatMap(values).map(quoted).join(",")).join("\r\n") + "\r\n";
  }

  function latex(table) {
    const special = {
      "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "−": "$-$", "–": "--",
      "<": "\\textless{}", ">": "\\textgreater{}",
    };
    const clean = (cell) => text(cell).replace(/[\\~^−–<>&%$#_{}]/g, (found) => special[found] ?? `\\${found}`);
    // A line that begins with [ or * would be an argument of the line end before it.
    const lines = rows(table).map((cells) => `  ${cells.map(clean).join(" & ").replace(/^[[*]/, "{$&}")} \\\\`);
    const alignment = rows(table)[0].map((cell) => (flushLeft(cell) ? "l" : "r")).join("");
    const [head, ...body] = lines;
    const total = table.querySelector("tbody .total");
    if (total && total.rowIndex > 1) body.splice(total.rowIndex - 1, 0, "  \\midrule");
    return [`\\begin{tabular}{${alignment}}`, "  \\toprule", head, "  \\midrule", ...body, "  \\bottomrule", "\\end{tabular}", ""]
      .join("\n");
  }

  const forms = { Markdown: markdown, CSV: csv, LaTeX: latex };

  for (const bar of document.querySelectorAll(".copy")) {
    bar.hidden = false;
    bar.addEventListener("click", async (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const table = bar.closest(".table").querySelector("table");
      await window.copyText(forms[button.dataset.copy](table), button);
    });
  }

  /** Put a text on the clipboard, and say so on the button for a moment. */
  window.copyText = async (copied, button) => {
    try {
      await navigator.clipboard.writeText(copied);
    } catch {
      copyBySelection(copied, button);
    }
    const label = button.dataset.label ?? (button.dataset.label = button.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  };

  // Where the browser gives a page from the disk no clipboard.
  function copyBySelection(copied, button) {
    const area = document.createElement("textarea");
    area.value = copied;
    button.after(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
})();
