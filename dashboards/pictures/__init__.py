"""Pictures of the dashboards: ``make pictures``.

Real traffic, scraped by a real Prometheus (``scenes``); its answers to what the panels ask, kept as JSON
(``answers``); and these drawn by Grafana's own components in a browser (``draw``, ``page/``). There is no Grafana
server. Annotations, exemplars and the heatmap, for which npm has no component, are drawn by hand after Grafana's;
panels of Loki and Tempo only say so.

The packages come from npm, with the exact versions of ``page/package.json``, into ``.build/pictures``.
"""
