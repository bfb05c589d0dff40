// What every panel and dashboard of ours has in common, over Grafana's own builders (grafana-foundation-sdk), which know
// the JSON that Grafana reads.
//
// A panel is data: what it shows, why one looks at it, its unit, its queries, and where one goes from there. A panel
// without a title, a description, a unit or a link is not built; ../../test checks the rest.

import {
  AxisPlacement,
  BigValueColorMode,
  BigValueGraphMode,
  GraphDrawStyle,
  GraphGradientMode,
  HeatmapCellLayout,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  ScaleDistribution,
  ScaleDistributionConfigBuilder,
  SortOrder,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VisibilityMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from "@grafana/grafana-foundation-sdk/common";
import {
  AnnotationQueryBuilder,
  ConstantVariableBuilder,
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  DatasourceVariableBuilder,
  FieldColorBuilder,
  FieldColorModeId,
  QueryVariableBuilder,
  RowBuilder,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  VariableHide,
  VariableRefresh,
} from "@grafana/grafana-foundation-sdk/dashboard";
import {
  HeatmapColorMode,
  HeatmapColorOptionsBuilder,
  PanelBuilder as HeatmapBuilder,
  RowsHeatmapOptionsBuilder,
  YAxisConfigBuilder,
} from "@grafana/grafana-foundation-sdk/heatmap";
import { DataqueryBuilder, PromQueryFormat } from "@grafana/grafana-foundation-sdk/prometheus";
import { PanelBuilder as StatBuilder } from "@grafana/grafana-foundation-sdk/stat";
import { PanelBuilder as TableBuilder } from "@grafana/grafana-foundation-sdk/table";
import { PanelBuilder as TimeSeriesBuilder } from "@grafana/grafana-foundation-sdk/timeseries";

/** Grafana serves docs/runbooks from its public folder, so the links work wherever Grafana does. */
const RUNBOOKS = "/public/runbooks";
const JAEGER = "http://localhost:16686";

const DATASOURCE = { type: "prometheus", uid: "${datasource}" };

/**
 * @typedef {object} Panel
 * @property {string} title
 * @property {string} description what it says, and what to think of it
 * @property {string} unit one of Grafana's, e.g. s, reqps, percentunit, short
 * @property {[string, string][]} queries legend, with {{labels}}, and PromQL
 * @property {string} [runbook] an alert's page in docs/runbooks, without .md
 * @property {string} [traces] a service whose traces Jaeger shows, with tags in `tags`
 * @property {Record<string, string>} [tags]
 * @property {boolean} [exemplars] dots that lead to traces; for histograms that have them
 * @property {number} [width] of 24
 * @property {number} [height]
 * @property {number} [min]
 * @property {number} [max]
 * @property {[number, string][]} [thresholds] from which value on which colour; the lowest colour is green
 * @property {string} [base] the colour below all thresholds, if it is not green
 * @property {boolean} [stacked]
 * @property {string} [noValue] what stands there instead of data
 * @property {string[]} [hide] columns of a table that are not shown
 */

/** Lines over time. */
export const lines = (panel) => ({
  panel,
  width: panel.width ?? 8,
  height: panel.height ?? 8,
  build() {
    const builder = new TimeSeriesBuilder()
      .drawStyle(GraphDrawStyle.Line)
      .lineWidth(1)
      .fillOpacity(panel.stacked ? 40 : 10)
      .gradientMode(GraphGradientMode.None)
      .showPoints(VisibilityMode.Never)
      .axisPlacement(AxisPlacement.Auto)
      .legend(
        new VizLegendOptionsBuilder()
          .displayMode(LegendDisplayMode.Table)
          .placement(LegendPlacement.Bottom)
          .showLegend(true)
          .calcs(["lastNotNull", "max"]),
      )
      .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending));
    if (panel.stacked) builder.stacking(new StackingConfigBuilder().mode(StackingMode.Normal).group("A"));
    return finish(builder, panel);
  },
});

/** One number, or one for each series. */
export const stat = (panel) => ({
  panel,
  width: panel.width ?? 4,
  height: panel.height ?? 4,
  build: () =>
    finish(
      new StatBuilder()
        .colorMode(panel.thresholds ? BigValueColorMode.Background : BigValueColorMode.Value)
        .graphMode(BigValueGraphMode.Area)
        .reduceOptions(new ReduceDataOptionsBuilder().calcs(["lastNotNull"]).values(false)),
      panel,
    ),
});

/** The buckets of a histogram over time; the queries are sums of its buckets by le. */
export const heatmap = (panel) => ({
  panel,
  width: panel.width ?? 12,
  height: panel.height ?? 9,
  build: () =>
    finish(
      new HeatmapBuilder()
        .calculate(false)
        .color(new HeatmapColorOptionsBuilder().mode(HeatmapColorMode.Scheme).scheme("Turbo").steps(64).exponent(0.5))
        .rowsFrame(new RowsHeatmapOptionsBuilder().layout(HeatmapCellLayout.Auto))
        .yAxis(
          new YAxisConfigBuilder()
            .unit(panel.unit)
            .scaleDistribution(new ScaleDistributionConfigBuilder().type(ScaleDistribution.Ordinal)),
        )
        .exemplarsColor("rgba(255,255,255,0.9)"),
      panel,
      PromQueryFormat.Heatmap,
    ),
});

/** The last values, a row for each series. */
export const table = (panel) => ({
  panel,
  width: panel.width ?? 12,
  height: panel.height ?? 8,
  build: () =>
    finish(
      new TableBuilder().transformations([
        {
          id: "organize",
          options: { excludeByName: Object.fromEntries(["Time", ...(panel.hide ?? [])].map((name) => [name, true])) },
        },
      ]),
      panel,
      PromQueryFormat.Table,
    ),
});

/**
 * A dashboard: rows of panels, laid out from left to right. It can be read for one service, or for all.
 *
 * @param {{ uid: string, title: string, description: string, services?: boolean, rows: [string, object[]][] }} it
 */
export function dashboard({ uid, title, description, services = true, rows }) {
  const builder = new DashboardBuilder(title)
    .uid(uid)
    .description(description)
    .tags(["tandem"])
    .timezone("browser")
    .readonly()
    .refresh("30s")
    .time({ from: "now-1h", to: "now" })
    .tooltip(DashboardCursorSync.Crosshair)
    .withVariable(new DatasourceVariableBuilder("datasource").label("Prometheus").type("prometheus"))
    .withVariable(new ConstantVariableBuilder("runbooks").value(RUNBOOKS))
    .withVariable(new ConstantVariableBuilder("jaeger").value(JAEGER))
    .link(
      new DashboardLinkBuilder("Tandem")
        .type(DashboardLinkType.Dashboards)
        .tags(["tandem"])
        .asDropdown(false)
        .keepTime(true)
        .includeVars(true),
    )
    .link(new DashboardLinkBuilder("Traces").type(DashboardLinkType.Link).url("${jaeger}").targetBlank(true))
    .link(
      new DashboardLinkBuilder("Runbooks")
        .type(DashboardLinkType.Link)
        .url("${runbooks}/README.md")
        .targetBlank(true),
    )
    // A line where a version began that was not there five minutes before.
    .annotation(
      new AnnotationQueryBuilder()
        .name("Deployments")
        .datasource(DATASOURCE)
        .enable(true)
        .iconColor("blue")
        .expr("count by (service, version, git_sha) (build_info unless build_info offset 5m)")
        .step("1m")
        .titleFormat("{{service}} {{version}}")
        .textFormat("{{git_sha}}"),
    )
    .annotation(
      new AnnotationQueryBuilder()
        .name("Pages")
        .datasource(DATASOURCE)
        .enable(true)
        .iconColor("red")
        .expr('ALERTS{alertstate="firing",severity="page"}')
        .step("1m")
        .titleFormat("{{alertname}}")
        .textFormat("{{service}} {{slo}} {{queue}}"),
    );
  if (services) {
    builder.withVariable(
      new QueryVariableBuilder("service")
        .label("Service")
        .datasource(DATASOURCE)
        .query({ query: "label_values(build_info, service)", refId: "service" })
        .refresh(VariableRefresh.OnTimeRangeChanged)
        .multi(true)
        .includeAll(true)
        .allValue(".+")
        .current({ text: "All", value: "$__all" }),
    );
  }

  let id = 0;
  let y = 0;
  for (const [name, panels] of rows) {
    builder.withRow(new RowBuilder(name).id(++id).gridPos({ x: 0, y: y++, w: 24, h: 1 }));
    let x = 0;
    let tallest = 0;
    for (const { width: w, height: h, build } of panels) {
      if (x + w > 24) {
        y += tallest;
        x = tallest = 0;
      }
      builder.withPanel(build().id(++id).gridPos({ x, y, w, h }));
      x += w;
      tallest = Math.max(tallest, h);
    }
    y += tallest;
  }
  return tidied(builder.build());
}

/** What the builder has no word for: constants are not for readers, links stand in sight and not in a menu. */
function tidied(dashboard) {
  for (const variable of dashboard.templating.list) {
    if (variable.type === "constant") variable.hide = VariableHide.HideVariable;
  }
  for (const { links } of [dashboard, ...dashboard.panels]) {
    for (const link of links ?? []) delete link.placement;
  }
  for (const annotation of dashboard.annotations.list) delete annotation.placement;
  return dashboard;
}

function finish(builder, panel, format = PromQueryFormat.TimeSeries) {
  for (const field of ["title", "description", "unit", "queries"]) {
    if (!panel[field]?.length) throw new Error(`panel ${panel.title}: ${field} is missing`);
  }
  builder.title(panel.title).description(panel.description).datasource(DATASOURCE).unit(panel.unit);
  panel.queries.forEach(([legend, expr], index) => {
    const query = new DataqueryBuilder()
      .refId(String.fromCharCode(65 + index))
      .datasource(DATASOURCE)
      .expr(expr)
      .legendFormat(legend)
      .format(format);
    if (format === PromQueryFormat.Table) query.instant();
    else query.range();
    if (panel.exemplars) query.exemplar(true);
    builder.withTarget(query);
  });
  builder.links(linksOf(panel));
  if (panel.min !== undefined) builder.min(panel.min);
  if (panel.max !== undefined) builder.max(panel.max);
  if (panel.noValue) builder.noValue(panel.noValue);
  if (panel.thresholds) {
    builder
      .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.Thresholds))
      .thresholds(
        new ThresholdsConfigBuilder()
          .mode(ThresholdsMode.Absolute)
          .steps([{ value: null, color: panel.base ?? "green" }, ...panel.thresholds.map(([value, color]) => ({ value, color }))]),
      );
  }
  return builder;
}

function linksOf({ title, runbook, traces, tags }) {
  const links = [];
  if (runbook) links.push(["Runbook", `\${runbooks}/${runbook}.md`]);
  if (traces) {
    const query = new URLSearchParams({ service: traces, lookback: "1h" });
    if (tags) query.set("tags", JSON.stringify(tags));
    links.push([`Traces of ${traces}`, `\${jaeger}/search?${query}`]);
  }
  if (!links.length) throw new Error(`panel ${title}: it leads nowhere; give it a runbook or traces`);
  return links.map(([title, url]) =>
    new DashboardLinkBuilder(title).type(DashboardLinkType.Link).url(url).targetBlank(true),
  );
}
