// What makes the pages live. Without it they say the same, as of when they were made.
(() => {
  "use strict";
  const pad = (n) => String(n).padStart(2, "0");
  const day = (at) => `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  const minute = (at) => `${pad(at.getHours())}:${pad(at.getMinutes())}`;
  // Local time to read, UTC on hover.
  const times = (root) => root.querySelectorAll("time[datetime]:not([data-done])").forEach((one) => {
    const at = new Date(one.dateTime);
    if (isNaN(at)) return;
    one.dataset.done = "1";
    one.title = one.dateTime;
    if (one.dataset.age !== undefined) return;
    one.textContent = `${day(at)} ${minute(at)}:${pad(at.getSeconds())}`;
  });
  const age = (s) => s < 3600 ? `${Math.floor(s / 60)}:${pad(s % 60)}`
    : s < 86400 ? `${Math.floor(s / 3600)}:${pad(Math.floor(s / 60) % 60)}:${pad(s % 60)}` : `${Math.floor(s / 86400)} d`;
  const skew = Date.parse(document.documentElement.dataset.now) - Date.now();
  const tick = () => document.querySelectorAll("time[data-age]").forEach((one) => {
    const s = Math.max(0, Math.floor((Date.now() + skew - Date.parse(one.dateTime)) / 1000));
    one.textContent = age(s);
  });
  const clock = () => {
    const now = new Date(Date.now() + skew), one = document.getElementById("clock");
    if (one) one.textContent = `${pad(now.getHours())}:${pad(now.getMinutes())}:${pad(now.getSeconds())}`;
  };

  // The exact amount is copied, also where a short one is read.
  document.addEventListener("copy", (event) => {
    const range = getSelection().rangeCount ? getSelection().getRangeAt(0) : null;
    const within = range && range.commonAncestorContainer;
    const one = within && (within.nodeType === 1 ? within : within.parentElement).closest("data");
    if (one) { event.clipboardData.setData("text/plain", one.value); event.preventDefault(); }
  });

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const charts = new Map();
  const draw = async (box) => {
    if (!window.uPlot) return;
    const answer = await fetch(box.dataset.course);
    if (!answer.ok) return;
    const { x, low, high, owed, balance, marks, words } = await answer.json();
    if (x.length === 0) return;
    const step = uPlot.paths.stepped({ align: 1 });
    const fg = css("--fg"), dim = css("--dim"), line = css("--line"), red = css("--red");
    const axis = { stroke: dim, grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
    // The day is named where it begins, and at the left end.
    const ticks = (u, all, nth, space, every) => all.map((s, i) => {
      const at = new Date(s * 1000), begins = i === 0 || minute(at) === "00:00";
      if (every >= 86400) return day(at);
      return minute(at) + (every < 60 ? ":" + pad(at.getSeconds()) : "") + (begins ? "\n" + day(at) : "");
    });
    const axes = [{ ...axis, values: ticks }, { ...axis, size: 90 }];
    const then = (u, s) => s == null ? "–" : `${day(new Date(s * 1000))} ${minute(new Date(s * 1000))}`;
    const gap = balance ? [] : high.map((h, i) => h === null || owed[i] === null ? null : Math.min(h, owed[i]));
    const size = () => ({ width: box.clientWidth, height: 300 });
    const count = (u, v) => v == null ? "–" : v.toLocaleString("en", { maximumFractionDigits: 8 });
    const signs = (u) => {
      const c = u.ctx, top = u.bbox.top;
      marks.forEach((at) => {
        const left = u.valToPos(at, "x", true);
        if (left < u.bbox.left || left > u.bbox.left + u.bbox.width) return;
        c.fillStyle = red; c.beginPath(); c.arc(left, top + 8, 4 * devicePixelRatio, 0, 7); c.fill();
      });
    };
    const y = { range: (u, min, max) => [0, max > 0 ? max * 1.08 : 1] };
    const plot = balance ? new uPlot({
      ...size(), cursor: { y: false }, scales: { y }, axes,
      series: [{ label: words.time, value: then }, { label: words.balance, stroke: fg, width: 2, fill: dim + "22", paths: step, value: count }],
    }, [x, balance], box) : new uPlot({
      ...size(), cursor: { y: false }, legend: { live: true },
      scales: { y },
      axes,
      bands: [{ series: [3, 4], fill: red + "2e" }, { series: [2, 1], fill: dim + "33" }],
      series: [{ label: words.time, value: then },
        { label: words.low, stroke: fg, width: 2, paths: step, value: count },
        { label: words.high, stroke: dim, width: 1, paths: step, value: count },
        { label: words.owed, stroke: red, width: 2, dash: [6, 4], paths: step, value: count, points: { show: x.length < 90, size: 5 } },
        { label: "", stroke: "transparent", paths: step, points: { show: false }, value: () => "" }],
      hooks: { draw: [signs] },
    }, [x, low, high, owed, gap], box);
    if (charts.has(box)) charts.get(box).destroy();
    else new ResizeObserver(() => charts.get(box).setSize(size())).observe(box);
    charts.set(box, plot);
    box.querySelector(".later")?.remove();
  };

  const dress = () => { times(document); tick(); document.querySelectorAll("[data-course]").forEach((box) => charts.has(box) || draw(box)); };
  document.addEventListener("DOMContentLoaded", () => {
    dress(); clock();
    setInterval(() => { tick(); clock(); }, 1000);
    if (!document.querySelector("[data-live]")) return;
    let due = null;
    const news = () => { due ??= setTimeout(() => { due = null; document.body.dispatchEvent(new CustomEvent("news")); }, 150); };
    const events = new EventSource("/v1/events");
    ["verdict", "statement", "alert", "gate", "block", "lagged"].forEach((kind) => events.addEventListener(kind, news));
    const link = document.getElementById("link");
    events.onerror = () => link && (link.hidden = false);
    events.onopen = () => { document.documentElement.dataset.live = ""; if (link) link.hidden = true; };
  });
  document.addEventListener("htmx:after:swap", () => { dress(); document.querySelectorAll("[data-course]").forEach(draw); });
})();
