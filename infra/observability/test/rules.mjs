// What has to be true of alerts and dashboards, as functions that say what is not: so the tests can show that each is
// found.

import { readYaml } from "./files.mjs";
import { foreignMetrics, metricsIn } from "./metrics.mjs";

const SEVERITIES = ["page", "ticket", "heartbeat"];
const ANNOTATIONS = ["summary", "description", "runbook_url", "dashboard_url"];

export const slug = (alertname) => alertname.replace(/(?<=[a-z])(?=[A-Z])/g, "-").toLowerCase();

export const alertsOf = (groups) => groups.flatMap(({ rules }) => rules).filter(({ alert }) => alert);

/**
 * @param groups of rules
 * @param context { tests, pages, uids, known }: unit tests, the pages of docs/runbooks, dashboards, names of metrics
 */
export function alertFaults(groups, { tests, pages, uids, known }) {
  const faults = [];
  const alerts = alertsOf(groups);
  for (const { alert, expr, labels = {}, annotations = {} } of alerts) {
    const severity = labels.severity;
    const fault = (text) => faults.push(`${alert} (${severity}): ${text}`);
    if (!SEVERITIES.includes(severity)) fault(`its severity is none of ${SEVERITIES.join(", ")}`);
    for (const name of ANNOTATIONS) if (!annotations[name]?.trim()) fault(`it has no ${name}`);

    const runbook = /^\{\{ \$externalLabels\.runbooks \}\}\/(.+)\.md$/.exec(annotations.runbook_url)?.[1];
    if (runbook !== slug(alert)) fault(`its runbook_url is not {{ $externalLabels.runbooks }}/${slug(alert)}.md`);
    if (runbook && !pages.includes(runbook)) fault(`docs/runbooks/${runbook}.md does not exist`);
    const uid = /^\{\{ \$externalLabels\.grafana \}\}\/d\/(.+)$/.exec(annotations.dashboard_url)?.[1];
    if (!uids.includes(uid)) fault(`its dashboard_url is no dashboard of ours: ${uid}`);

    for (const name of metricsIn(expr)) if (!known.has(name)) fault(`nobody serves the metric ${name}`);
    faults.push(...testFaults(alert, severity, tests));
  }
  for (const page of pages) {
    if (!alerts.some(({ alert }) => slug(alert) === page)) faults.push(`docs/runbooks/${page}.md: no alert has this page`);
  }
  return faults;
}

/** In one test it does not fire, then fires, then does not fire any more. */
function testFaults(alert, severity, tests) {
  if (severity === "heartbeat") return []; // it does nothing but fire; that it does is a test, too
  const runs = tests.map(({ alert_rule_test: checks = [] }) =>
    checks
      .filter(({ alertname }) => alertname === alert)
      .map(({ exp_alerts: expected = [] }) => expected.some(({ exp_labels: labels }) => labels.severity === severity))
      .map((fires) => (fires ? "+" : "-"))
      .join(""),
  );
  return runs.some((run) => /-.*\+.*-/.test(run))
    ? []
    : [`${alert} (${severity}): no unit test has it not fire, fire and resolve`];
}

/** Every recording rule asks for what there is, and is asked for. */
export function recordingFaults(groups, { dashboards, known }) {
  const used = new Set(
    [...groups.flatMap(({ rules }) => rules), ...dashboards.flatMap(targetsOf)].flatMap(({ expr }) => metricsIn(expr)),
  );
  return groups
    .flatMap(({ rules }) => rules)
    .filter(({ record }) => record)
    .flatMap(({ record, expr }) => [
      ...metricsIn(expr)
        .filter((name) => !known.has(name))
        .map((name) => `${record}: nobody serves the metric ${name}`),
      ...(used.has(record) ? [] : [`${record}: nobody asks for it`]),
    ]);
}

/** Every name in the list of foreign metrics is asked for. */
export function foreignFaults(groups, dashboards) {
  const exprs = [...groups.flatMap(({ rules }) => rules), ...dashboards.flatMap(targetsOf)].map(({ expr }) => expr);
  const used = new Set(exprs.flatMap(metricsIn));
  return foreignMetrics()
    .filter((name) => !used.has(name))
    .map((name) => `foreign-metrics.txt: nobody asks for ${name}`);
}

export const panelsOf = (dashboard) => dashboard.panels.filter(({ type }) => type !== "row");

/** Everything of a dashboard that asks Prometheus, with where it stands. */
export const targetsOf = (dashboard) => [
  ...panelsOf(dashboard).flatMap((panel) =>
    panel.targets.map((target) => ({ ...target, panel, place: `${dashboard.uid}, ${panel.title}, ${target.refId}` })),
  ),
  ...dashboard.annotations.list.map((annotation) => ({
    ...annotation,
    place: `${dashboard.uid}, annotation ${annotation.name}`,
  })),
];

const DATASOURCE = "${datasource}";

/** @param context { pages, known, counters, units } */
export function dashboardFaults(dashboard, { pages, known, counters, units }) {
  const faults = [];
  const { uid } = dashboard;
  const fault = (place, text) => faults.push(`${uid}, ${place}: ${text}`);

  if (!/^tandem-[a-z]+$/.test(uid)) fault("uid", "links know a dashboard by it: tandem-…");
  if (!dashboard.title || !dashboard.description) fault("title", "it has no title or no description");
  const variables = dashboard.templating.list;
  if (!variables.some(({ name, type }) => name === "datasource" && type === "datasource")) {
    fault("variables", "there is no data source to choose");
  }
  const constants = Object.fromEntries(variables.filter(({ type }) => type === "constant").map((v) => [v.name, v.query]));

  const ids = new Set();
  const titles = new Set();
  const cells = new Map();
  for (const panel of dashboard.panels) {
    const place = panel.title || `panel ${panel.id}`;
    if (ids.has(panel.id)) fault(place, `the id ${panel.id} is another panel's`);
    ids.add(panel.id);
    for (const cell of cellsOf(panel.gridPos)) {
      if (cells.has(cell)) {
        fault(place, `it lies over ${cells.get(cell)}`);
        break;
      }
      cells.set(cell, place);
    }
    if (panel.gridPos.x + panel.gridPos.w > 24) fault(place, "it is wider than the page");
    if (panel.type === "row") continue;

    if (!panel.title) fault(place, "it has no title");
    if (titles.has(panel.title)) fault(place, "another panel has its title");
    titles.add(panel.title);
    if (!panel.description) fault(place, "it has no description");
    if (!units.has(panel.fieldConfig?.defaults?.unit)) fault(place, `it has no unit that Grafana knows: ${panel.fieldConfig?.defaults?.unit}`);
    if (panel.datasource?.uid !== DATASOURCE) fault(place, `its data source is not ${DATASOURCE}`);
    if (!panel.targets?.length) fault(place, "it asks for nothing");
    faults.push(...linkFaults(uid, place, panel.links, constants, pages));
  }

  for (const { place, expr, datasource, panel, exemplar } of targetsOf(dashboard)) {
    const fault = (text) => faults.push(`${place}: ${text}`);
    if (datasource?.uid !== DATASOURCE) fault(`its data source is not ${DATASOURCE}`);
    for (const name of metricsIn(expr)) if (!known.has(name)) fault(`nobody serves the metric ${name}`);
    for (const [, range] of expr.matchAll(/\b(?:rate|irate|increase|delta)\s*\([^[]*\[([^\]]*)\]/g)) {
      if (range !== "$__rate_interval") fault(`a rate over ${range}: use $__rate_interval, or it is empty when one zooms in`);
    }
    for (const name of metricsIn(expr)) {
      if (counters.has(name) && !new RegExp(`(rate|increase)\\(${name}\\b`).test(expr)) {
        fault(`${name} is a counter: ask for its rate`);
      }
    }
    if (/\binstance\s*=/.test(expr)) fault("it is about one instance only");
    for (const [, name] of expr.matchAll(/\$\{?([a-z]\w*)/g)) {
      if (!variables.some((variable) => variable.name === name)) fault(`there is no variable ${name}`);
    }
    if (exemplar && !/_bucket\b/.test(expr)) fault("only histograms have exemplars");
    if (panel && panel.type === "heatmap" && !/sum by \(le\)/.test(expr)) fault("a heatmap needs buckets: sum by (le)");
  }
  return faults;
}

function linkFaults(uid, place, links = [], constants, pages) {
  const faults = [];
  if (!links.length) faults.push(`${uid}, ${place}: it leads nowhere: give it a runbook or traces`);
  for (const { title, url } of links) {
    const fault = (text) => faults.push(`${uid}, ${place}, link ${title}: ${text}`);
    for (const [, name] of url.matchAll(/\$\{(\w+)\}/g)) if (!constants[name]) fault(`there is no constant ${name}`);
    const page = /^\$\{runbooks\}\/(.+)\.md$/.exec(url)?.[1];
    if (page && page !== "README" && !pages.includes(page)) fault(`docs/runbooks/${page}.md does not exist`);
    if (!page && !/^\$\{jaeger\}\/search\?service=(bff|orders|invoices|kong)&/.test(url)) {
      fault(`it is neither a runbook nor a search for traces: ${url}`);
    }
  }
  return faults;
}

function* cellsOf({ x, y, w, h }) {
  for (let row = y; row < y + h; row++) for (let column = x; column < x + w; column++) yield `${column}/${row}`;
}

/** Data sources, dashboards and Jaeger know each other by names that have to be the same. */
export function provisioningFaults({ datasources } = readYaml("grafana", "provisioning", "datasources", "datasources.yml")) {
  const faults = [];
  const byUid = Object.fromEntries(datasources.map((source) => [source.uid, source]));
  for (const type of ["prometheus", "jaeger"]) {
    if (!datasources.some((source) => source.type === type)) faults.push(`there is no data source of the type ${type}`);
  }
  if (datasources.filter(({ isDefault }) => isDefault).length !== 1) faults.push("one data source has to be the default");
  for (const { name, jsonData = {} } of datasources) {
    const destinations = jsonData.exemplarTraceIdDestinations ?? [];
    if (name === "Prometheus" && !destinations.length) faults.push("exemplars lead nowhere");
    for (const destination of destinations) {
      if (byUid[destination.datasourceUid]?.type !== "jaeger") {
        faults.push(`exemplars lead to ${destination.datasourceUid}, which is not Jaeger`);
      }
      if (destination.name !== "trace_id") faults.push(`our exemplars have trace_id, not ${destination.name}`);
    }
  }
  return faults;
}

/** A collector's pipelines are made of what it configures, and it configures nothing that no pipeline has. */
export function collectorFaults(config) {
  const faults = [];
  const { service, connectors = {} } = config;
  const used = { receivers: new Set(), processors: new Set(), exporters: new Set() };
  for (const [name, pipeline] of Object.entries(service.pipelines)) {
    for (const kind of Object.keys(used)) {
      for (const component of pipeline[kind] ?? []) {
        used[kind].add(component);
        if (!config[kind]?.hasOwnProperty(component) && !connectors.hasOwnProperty(component)) {
          faults.push(`pipeline ${name}: ${component} is none of ${kind}`);
        }
      }
    }
  }
  for (const kind of Object.keys(used)) {
    for (const component of Object.keys(config[kind] ?? {})) {
      if (!used[kind].has(component)) faults.push(`${kind}: no pipeline has ${component}`);
    }
  }
  const extensions = Object.keys(config.extensions ?? {});
  for (const name of service.extensions) if (!extensions.includes(name)) faults.push(`extension ${name} is not configured`);
  for (const name of extensions) if (!service.extensions.includes(name)) faults.push(`extension ${name} is not started`);

  const stores = Object.keys(config.extensions?.jaeger_storage?.backends ?? {});
  for (const [who, store] of [
    ["jaeger_query", config.extensions?.jaeger_query?.storage?.traces],
    ["jaeger_storage_exporter", config.exporters?.jaeger_storage_exporter?.trace_storage],
  ]) {
    if (!stores.includes(store)) faults.push(`${who}: there is no store ${store}`);
  }
  return faults;
}
