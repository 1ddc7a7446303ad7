// For users of monitoring mixins (jsonnet 0.20 or newer): the committed files, with _config.afterword filled in.
// The rules that are off by default are on with _config.afterword.optionalRules.
local rules(file, config) = std.parseYaml(std.strReplace(std.strReplace(
  file, 'http://localhost:3000', config.grafanaUrl), 'RUNBOOK.md', config.runbookUrl));
{
  _config+:: { afterword: { grafanaUrl: 'http://localhost:3000', runbookUrl: 'RUNBOOK.md', optionalRules: false } },
  grafanaDashboards+:: { 'afterword-overview.json': import 'grafana/overview.json', 'afterword-task.json': import 'grafana/task.json' },
  prometheusRules+:: { groups+: rules(importstr 'prometheus/recording.yml', $._config.afterword).groups },
  prometheusAlerts+:: { groups+: rules(importstr 'prometheus/alerts.yml', $._config.afterword).groups
    + (if $._config.afterword.optionalRules then rules(importstr 'prometheus/optional.yml', $._config.afterword).groups else []) },
}
