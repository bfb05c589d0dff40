// The few expressions that panels repeat.

/** Per second. The interval is Grafana's: at least four scrapes, and no finer than a pixel. */
export const rate = (series) => `rate(${series}[$__rate_interval])`;

/** sum by (labels) of a rate. */
export const sumRate = (by, series) => `sum by (${by}) (${rate(series)})`;

/** A quantile of a histogram, for each combination of labels. */
export function quantile(q, by, metric, selector = "") {
  const labels = ["le", by].filter(Boolean).join(", ");
  return `histogram_quantile(${q}, sum by (${labels}) (${rate(`${metric}_bucket${selector}`)}))`;
}

/** The share of `part` in `whole`, 0 where there is nothing of it. */
export const share = (by, part, whole) =>
  `(${sumRate(by, part)} or 0 * ${sumRate(by, whole)}) / ${sumRate(by, whole)}`;

/** Of the services that the reader has chosen. */
export const OURS = 'service=~"$service"';

/** Queues that services consume, and those beside them. */
export const MAIN_QUEUES = 'queue!~".+[.](dlq|retry[.].+)"';
export const SIDE_QUEUES = 'queue=~".+[.](dlq|retry[.].+)"';
