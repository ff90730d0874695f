// The page of the admin port: asks /api/cluster once a second while it is visible and draws what came.
"use strict";

const KEPT = 300; // Seconds of history.
const SPAN = 60; // Seconds over which budgets are taken.
const SPACING = 5;
const STAGES = ["ingress", "verify", "batching", "dissemination", "ordering", "execution", "reply"];
const PATHS = [
  ["fast", "fast path"], ["late_votes", "a vote came late"], ["member_away", "a member is away"],
  ["view_change", "its view ended"], ["replayed", "found in the log"],
];
const KINDS = { header: "batch headers", ack: "acks", block: "blocks", vote: "votes", timeout: "timeouts", state: "state votes" };
const SIGNATURES = [
  ...["header", "ack", "block", "vote", "timeout", "state"].flatMap((kind) => ["made", "verified"].map((what) =>
    [`${KINDS[kind]}, ${what === "made" ? "made" : "checked"}`, (s) => s.member_signatures.by_kind[kind][what]])),
  ["of clients, checked on entry", (s) => s.client_signatures.verified - s.client_signatures.witnessed],
  ["of clients, checked as witness", (s) => s.client_signatures.witnessed],
];

const $ = (id) => document.getElementById(id);
let first = null; // What budgets count from: a snapshot of a minute ago; until there is one, the start of the replicas.
const older = []; // Snapshots of the last minute, one each SPACING seconds.
let last = null;
const history = [];

// Elements. Text is always set as text: nothing that a replica says becomes markup.
function el(tag, properties, ...children) {
  const made = document.createElement(tag);
  Object.assign(made, properties);
  made.append(...children);
  return made;
}
function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
const fill = (id, ...children) => $(id).replaceChildren(...children);
const cell = (text, kind = "") => el("td", { className: kind }, String(text));
const head = (...names) => el("tr", {}, ...names.map((n) => el("th", { className: n[0] === "<" ? "t" : "" }, n.replace("<", ""))));

// Numbers for people.
function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en").replaceAll(",", "\u2009");
  return Number(value.toPrecision(digits)).toString();
}
const ms = (us) => (us === null || us === undefined ? "–" : number(us / 1000) + " ms");
function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; value >= 1024 && unit < 4; unit++) value /= 1024;
  return number(value) + " " + units[unit];
}
const percent = (share) => (Number.isFinite(share) ? number(share * 100) + " %" : "–");

// Differences of counters; a replica that restarted counts from 0 again.
const since = (now, before) => (before === undefined || before === null || now < before ? now : now - before);

// A distribution between two snapshots.
function between(now, before) {
  if (!now) return null;
  const fresh = !before || before.count > now.count;
  return {
    count: fresh ? now.count : now.count - before.count,
    sum_us: fresh ? now.sum_us : now.sum_us - before.sum_us,
    le_us: now.le_us,
    below: now.at_or_below.map((count, i) => (fresh ? count : count - before.at_or_below[i])),
  };
}
function add(a, b) {
  if (!a) return b;
  if (!b) return a;
  return { count: a.count + b.count, sum_us: a.sum_us + b.sum_us, le_us: a.le_us, below: a.below.map((c, i) => c + b.below[i]) };
}
function quantile(d, q) {
  if (!d || d.count === 0) return null;
  const rank = q * d.count;
  let lower = 0, under = 0;
  for (let i = 0; i < d.le_us.length; i++) {
    if (d.below[i] >= rank) {
      const inside = d.below[i] - under;
      return lower + (d.le_us[i] - lower) * (inside > 0 ? (rank - under) / inside : 1);
    }
    lower = d.le_us[i];
    under = d.below[i];
  }
  return lower;
}

// One snapshot: what answered, by member.
function snapshot(cluster) {
  const members = new Map();
  for (const row of cluster.members) members.set(row.member, row);
  return { at: performance.now() / 1000, asked: cluster.asked, members };
}
const statuses = (snap) => [...snap.members.values()].filter((row) => row.status).map((row) => row.status);
const before = (snap, member) => snap && snap.members.get(member) && snap.members.get(member).status;
// Members whose distributions and counters can be compared with an earlier snapshot.
const pairs = (now, then) => statuses(now).map((s) => [s, before(then, s.member)]).filter((pair) => pair[1]);

function point(now, then) {
  const seconds = Math.max(now.at - then.at, 0.001);
  let ops = 0, total = null;
  for (const [s, b] of pairs(now, then)) {
    ops = Math.max(ops, since(s.execution.fresh, b.execution.fresh) / seconds);
    total = add(total, between(s.stages.total, b.stages.total));
  }
  return { at: now.at, ops, p50: quantile(total, 0.5), p99: quantile(total, 0.99) };
}

function draw(now) {
  const all = statuses(now);
  const top = Math.max(0, ...all.map((s) => s.committed_slot));
  const view = Math.max(0, ...all.map((s) => s.view));
  const lead = all.find((s) => s.view === view);
  const own = before(now, now.asked) || all[0];
  if (!own) return sayState("bad", "no replica answers");
  $("name").textContent = own.cluster_name + " · Trireme " + own.version;
  $("what").textContent = `cluster ${own.cluster.slice(0, 12)} · ${own.n} replicas, stands ${own.f} Byzantine · ` +
    `${own.app} · client signatures ${own.client_auth} · durability ${own.durability} · page of replica ${now.asked}`;
  const silent = own.n - all.filter((s) => s.ready).length;
  const faults = all.some((s) => s.halted || s.alarms > 0);
  if (faults) sayState("bad", "an alarm was raised");
  else if (silent > own.f) sayState("bad", `${silent} of ${own.n} replicas are not ready`);
  else if (silent > 0) sayState("warn", `${silent} of ${own.n} replicas not ready`);
  else sayState("good", `all ${own.n} replicas ready`);
  const recent = history[history.length - 1] || {};
  const commits = sumCommits(now, first);
  const ordered = Object.values(commits).reduce((a, b) => a + b, 0) - commits.replayed;
  tiles([
    [number(recent.ops), "operations/s"], [ms(recent.p50), "p50 inside"], [ms(recent.p99), "p99 inside"],
    [percent(commits.fast / ordered), "fast path"], [number(top), "committed slot"],
    [`${view}`, `view, leader ${lead ? lead.leader : "?"}`],
    [String(Math.max(...all.map((s) => s.evidence))), "proofs of misbehaviour"],
  ]);
  line("throughput", [["ops/s", "ops", "s1"]], (v) => number(v), 1);
  line("latency", [["p50", "p50", "s1"], ["p99", "p99", "s2"]], (v) => number(v) + " ms", 1000);
  attention(now);
  replicas(now, top, view);
  rtt(now, own.n);
  commitBars(commits, ordered);
  budget(now);
  signatures(now);
  links(now);
  events(now);
}

// What somebody should know of the replicas: quarantine, alarms, evidence, state transfer.
function attention(now) {
  const list = [];
  const say = (kind, s, text) => list.push([kind, `replica ${s.member} ${text}`]);
  for (const s of statuses(now)) {
    if (s.halted || s.alarms > 0) say("bad", s, "raised an alarm and votes no more");
    if (s.log.stalled) say("bad", s, "log is full to the last byte: takes no part");
    else if (s.log.full) say("warn", s, "log is nearly full: refuses requests");
    const q = s.quarantine;
    if (q) say("warn", s, `in quarantine (${q.cause}), waits for ${q.waits_for}, ${q.answers} of ${q.answers_needed} came`);
    if (s.evidence > 0) say("warn", s, `holds ${s.evidence} proof(s) of misbehaviour`);
    if (s.transfer_to !== null && s.transfer_to !== undefined) say("", s, `fetches the state of checkpoint ${s.transfer_to}`);
  }
  $("attention").hidden = list.length === 0;
  fill("attention", ...list.map(([kind, text]) => el("li", { className: kind }, text)));
}

function sayState(kind, text) {
  $("state").className = "state " + kind;
  $("state").textContent = text;
}
function tiles(list) {
  fill("tiles", ...list.map(([value, name]) => el("div", { className: "tile" }, el("b", {}, value), el("span", {}, name))));
}

function replicas(now, top, view) {
  const rows = [head("<replica", "<organisation", "<state", "view", "committed", "lag", "executed", "log flush p99", "CPU", "memory", "clients", "<address")];
  const regions = new Map();
  for (const row of now.members.values()) {
    const region = row.status ? row.status.region : regionOf(row.member);
    if (!regions.has(region)) regions.set(region, []);
    regions.get(region).push(row);
  }
  for (const [region, list] of [...regions].sort((a, b) => (a[0] < b[0] ? -1 : 1))) {
    rows.push(el("tr", { className: "region" }, el("td", { colSpan: 12 }, "region " + region)));
    for (const { member, address, status: s, error } of list) {
      if (!s) {
        rows.push(el("tr", {}, cell(member, "t"), cell("", "t"), el("td", { className: "t bad", colSpan: 9 }, error || "no answer"), cell(address || "", "t")));
        continue;
      }
      const b = before(last, member);
      const cpu = b ? since(s.cpu_us.process, b.cpu_us.process) / Math.max(s.uptime_us - b.uptime_us, 1) : NaN;
      rows.push(el("tr", {}, cell(member, "t"), cell(s.organisation, "t"), state(s, view), cell(s.view), cell(number(s.committed_slot)),
        cell(number(top - s.committed_slot), top - s.committed_slot > s.windows.slots ? "bad" : ""), cell(number(s.executed_slot)),
        cell(ms(s.stages.log.p99_us)), cell(percent(cpu)), cell(bytes(s.process && s.process.resident_bytes)),
        cell(s.clients.connections), cell(address || location.host, "t")));
    }
  }
  fill("replicas", ...rows);
}
const seen = new Map(); // Regions of members that answered once.
const regionOf = (member) => seen.get(member) || "unknown";
function state(s, view) {
  if (s.halted) return cell("halted", "t bad");
  if (s.log.full) return cell("log full", "t bad");
  if (s.quarantined) return cell("quarantine", "t warn");
  if (!s.ready) return cell("no quorum", "t bad");
  if (s.view < view) return cell("behind", "t warn");
  return cell(s.leading ? "leader" : "follows", s.leading ? "t good" : "t");
}

function rtt(now, n) {
  const rows = [el("tr", {}, el("th", {}, ""), ...Array.from({ length: n }, (_, i) => el("th", {}, String(i))))];
  for (let from = 0; from < n; from++) {
    const s = before(now, from);
    const cells = Array.from({ length: n }, (_, to) => {
      if (to === from) return cell("·");
      const peer = s && s.peers.find((p) => p.member === to);
      if (!peer) return cell("–");
      if (!peer.connected) return cell("down", "bad");
      return cell(number(peer.rtt_us / 1000) + (peer.lost_packets ? ` (${peer.lost_packets})` : ""));
    });
    rows.push(el("tr", {}, el("th", {}, String(from)), ...cells));
  }
  fill("rtt", ...rows);
}

function sumCommits(now, then) {
  const sums = Object.fromEntries(PATHS.map(([key]) => [key, 0]));
  for (const s of statuses(now)) {
    const b = before(then, s.member);
    for (const [key] of PATHS) sums[key] += since(s.commits[key], b && b.commits[key]);
  }
  return sums;
}

function bar(name, parts, whole, value) {
  const strip = el("div", { className: "bar" });
  for (const [title, size, colour] of parts) {
    const part = el("i", { className: colour, title });
    part.style.width = (whole > 0 ? (100 * size) / whole : 0) + "%";
    if (size > 0) strip.append(part);
  }
  return el("div", { className: "barrow" }, el("span", {}, name), strip, el("span", {}, value));
}
const legend = (list) => el("div", { className: "legend" }, ...list.map(([name, colour]) => el("span", {}, el("i", { className: colour }), name)));

function commitBars(commits, ordered) {
  const rows = PATHS.filter(([key]) => key !== "replayed").map(([key, name], i) =>
    bar(name, [[name, commits[key], "k" + (i + 1)]], ordered, percent(commits[key] / ordered)));
  fill("commits", ...(ordered > 0 ? rows : [el("p", { className: "empty" }, "nothing committed in this time")]));
}

function budget(now) {
  const bars = [], sums = new Map();
  const means = statuses(now).map((s) => {
    const b = before(first, s.member);
    const parts = STAGES.map((stage) => between(s.stages[stage], b && b.stages[stage]));
    parts.forEach((part, i) => sums.set(STAGES[i], add(sums.get(STAGES[i]), part)));
    return [s.member, parts.map((d) => (d && d.count ? d.sum_us / d.count : 0)), parts[0].count];
  }).filter((row) => row[2] > 0);
  const widest = Math.max(...means.map(([, list]) => list.reduce((a, b) => a + b, 0)), 1);
  for (const [member, list] of means) {
    const whole = list.reduce((a, b) => a + b, 0);
    bars.push(bar("replica " + member, list.map((us, i) => [`${STAGES[i]} ${ms(us)}`, us, "k" + (i + 1)]), widest, ms(whole)));
  }
  if (bars.length) bars.push(legend(STAGES.map((stage, i) => [stage, "k" + (i + 1)])));
  else bars.push(el("p", { className: "empty" }, "no operations in this time"));
  fill("budget", ...bars);
  let log = null;
  for (const s of statuses(now)) {
    const b = before(first, s.member);
    log = add(log, between(s.stages.log, b && b.stages.log));
  }
  const total = STAGES.reduce((a, stage) => a + (sums.get(stage) ? sums.get(stage).sum_us : 0), 0);
  const line = (name, d, share) => el("tr", {}, cell(name, "t"), cell(number(d ? d.count : 0)), cell(share),
    cell(ms(d && d.count ? d.sum_us / d.count : null)), cell(ms(quantile(d, 0.5))), cell(ms(quantile(d, 0.9))), cell(ms(quantile(d, 0.99))));
  fill("stages", head("<stage", "counted", "share", "mean", "p50", "p90", "p99"),
    ...STAGES.map((stage) => line(stage, sums.get(stage), percent((sums.get(stage) || {}).sum_us / total))),
    line("log: append until durable", log, "across"));
}

function signatures(now) {
  let ops = 0;
  const sums = SIGNATURES.map(() => 0);
  for (const s of statuses(now)) {
    const b = before(first, s.member);
    ops = Math.max(ops, since(s.execution.fresh, b && b.execution.fresh));
    SIGNATURES.forEach(([, of], i) => { sums[i] += since(of(s), b && of(b)); });
  }
  if (ops === 0) return fill("signatures", el("p", { className: "empty" }, "no operations in this time"));
  const widest = Math.max(...sums);
  const n = statuses(now)[0].n;
  const rows = SIGNATURES.map(([name], i) => [name, sums[i], "k" + (name.endsWith("made") ? 2 : name.startsWith("of") ? 3 : 1)]);
  fill("signatures", ...rows.filter(([, count]) => count > 0).map(([name, count, colour]) => bar(name, [[name, count, colour]], widest, number(count / ops))),
    el("p", { className: "quiet" }, `checking every client signature at every replica would cost ${n} per operation`));
}

function links(now) {
  const rows = [];
  for (const s of statuses(now)) {
    for (const link of s.links) {
      const full = Math.max(link.held / link.depth, link.bytes / link.limit_bytes);
      rows.push([full, link.shed, s.member, link.name, `${number(link.held)} of ${number(link.depth)}`, link.high_water, link.shed, link.high_water / link.depth]);
    }
    const pools = [["client intake", s.clients.intake_bytes, s.clients.intake_limit_bytes],
      ["core intake", s.held.intake_bytes, s.windows.core_intake_bytes], ["largest lane", s.held.lane_bytes, s.windows.lane_bytes]];
    for (const [name, used, limit] of pools) rows.push([used / limit, 0, s.member, name, `${bytes(used)} of ${bytes(limit)}`, "", "", 0]);
  }
  rows.sort((a, b) => b[1] - a[1] || b[0] - a[0] || b[7] - a[7]);
  fill("links", head("<replica", "<link or budget", "held", "full", "peak", "turned away"),
    ...rows.slice(0, 10).map(([full, , member, name, held, peak, shed]) => el("tr", {}, cell(member, "t"), cell(name, "t"), cell(held),
      cell(percent(full), full > 0.8 ? "bad" : ""), cell(peak === "" ? "" : number(peak)), cell(shed === "" ? "" : number(shed), shed > 0 ? "warn" : ""))));
}

function events(now) {
  const list = statuses(now).flatMap((s) => s.events.map((event) => ({ ...event, member: s.member })));
  list.sort((a, b) => b.wall_us - a.wall_us || b.number - a.number);
  if (!list.length) return fill("events", el("li", { className: "empty" }, "nothing yet"));
  const kinds = { info: "", warning: "warn", error: "bad" };
  fill("events", ...list.slice(0, 100).map((event) => el("li", {},
    el("time", {}, new Date(event.wall_us / 1000).toLocaleTimeString("en-GB")),
    el("span", {}, "replica " + event.member),
    el("span", { className: kinds[event.weight] || "" }, event.text))));
}

// A line chart over the last minutes.
function line(id, series, format, divide) {
  const width = Math.max($(id).clientWidth, 200), height = 190, left = 52, right = 8, bottom = 20, top = 8;
  const values = history.flatMap((p) => series.map(([, key]) => p[key])).filter((v) => v !== null).map((v) => v / divide);
  const limit = nice(Math.max(...values, 0));
  const end = history.length ? history[history.length - 1].at : 0;
  const span = Math.min(KEPT, Math.max(60, history.length ? end - history[0].at : 60));
  const x = (at) => left + (width - left - right) * (1 - (end - at) / span);
  const y = (v) => height - bottom - (height - bottom - top) * (v / limit);
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": id });
  for (let i = 0; i <= 4; i++) {
    const v = (limit * i) / 4;
    chart.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(v), y2: y(v) }));
    chart.append(svg("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, number(v)));
  }
  chart.append(svg("text", { x: left, y: height - 4 }, `${Math.round(span)} s ago`), svg("text", { x: width - right, y: height - 4, "text-anchor": "end" }, "now"));
  for (const [, key, colour] of series) {
    let path = "", open = false;
    for (const p of history) {
      if (p[key] === null || end - p.at > span) { open = false; continue; }
      path += `${open ? "L" : "M"}${x(p.at).toFixed(1)} ${y(p[key] / divide).toFixed(1)}`;
      open = true;
    }
    chart.append(svg("path", { class: "line " + colour, d: path }));
  }
  const box = $(id);
  const parts = [chart];
  if (series.length > 1) parts.push(legend(series.map(([name, , colour]) => [name, colour.replace("s", "k")])));
  box.replaceChildren(...parts);
  chart.addEventListener("mousemove", (event) => {
    const at = end - span * (1 - (event.offsetX - left) / (width - left - right));
    const near = history.reduce((best, p) => (!best || Math.abs(p.at - at) < Math.abs(best.at - at) ? p : best), null);
    if (!near) return;
    const text = series.map(([name, key]) => `${name} ${near[key] === null ? "–" : format(near[key] / divide)}`).join(" · ");
    box.querySelectorAll(".tip").forEach((tip) => tip.remove());
    const tip = el("div", { className: "tip" }, `${Math.round(end - near.at)} s ago: ${text}`);
    tip.style.left = Math.min(event.offsetX + 10, width - 190) + "px";
    box.append(tip);
  });
  chart.addEventListener("mouseleave", () => box.querySelectorAll(".tip").forEach((tip) => tip.remove()));
}
function nice(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 8, 10].find((step) => step * power >= value) * power;
}

async function ask() {
  try {
    const answer = await fetch("/api/cluster", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    const now = snapshot(await answer.json());
    for (const s of statuses(now)) seen.set(s.member, s.region);
    if (!older.length || now.at - older[older.length - 1].at >= SPACING) older.push(now);
    while (older.length && now.at - older[0].at > SPAN) first = older.shift();
    if (last) {
      history.push(point(now, last));
      if (history.length > KEPT) history.shift();
    }
    draw(now);
    last = now;
  } catch (error) {
    sayState("bad", "this replica does not answer");
    console.error(error);
  }
}
async function loop() {
  if (document.visibilityState === "visible") await ask();
  setTimeout(loop, 1000);
}

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const asked = new URLSearchParams(location.search).get("theme");
const theme = (name) => document.documentElement.setAttribute("data-theme", name);
theme(asked || (dark.matches ? "dark" : "light"));
dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));
$("theme").addEventListener("click", () => theme(document.documentElement.getAttribute("data-theme") === "dark" ? "light" : "dark"));
loop();
