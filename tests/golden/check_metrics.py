#!/usr/bin/env python3
"""Checks that a made session's metrics are what scrapers accept: promtool has nothing to say of the classic format; and
of both formats: each family is declared once and stands together, names and suffixes fit the type, no label set occurs
twice, buckets rise to _count, and OpenMetrics ends with EOF. Exemplars are OpenMetrics' alone: each stands behind the
bucket that its value lies in, with labels of at most 128 characters and a time.

usage: check_metrics.py GOLDEN CASE.in
"""
import collections
import re
import subprocess
import sys

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')
EXEMPLAR = re.compile(r'(.*_bucket\{.*\} \d+) # \{(.*)\} (\d+(?:\.\d+)?) (\d+(?:\.\d+)?)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
SUFFIXES = {
    'counter': {True: ['_total'], False: ['']},
    'gauge': {True: [''], False: ['']},
    'info': {True: ['_info'], False: ['']},
    'histogram': {True: ['_bucket', '_sum', '_count'], False: ['_bucket', '_sum', '_count']},
}


def labels_of(text):
    labels, at = {}, 0
    while at < len(text):
        match = LABEL.match(text, at)
        assert match, f'bad labels: {text}'
        assert match[1] not in labels, f'label twice: {text}'
        labels[match[1]] = match[2]
        at = match.end()
    return labels


def check_histogram(name, series):
    """series: label set without le -> [(le, value)], and sums and counts."""
    for labels, parts in series.items():
        bounds = [float(le) for le, _ in parts['_bucket']]
        values = [value for _, value in parts['_bucket']]
        assert bounds == sorted(set(bounds)) and bounds[-1] == float('inf'), f'{name}{labels}: bounds {bounds}'
        assert values == sorted(values), f'{name}{labels}: buckets fall'
        assert [values[-1]] == parts['_count'], f'{name}{labels}: _count is not the last bucket'
        assert len(parts['_sum']) == 1, f'{name}{labels}: no _sum'


def without_exemplar(line, exemplars):
    """The line as the classic format has it; what stands behind it goes into exemplars."""
    match = EXEMPLAR.match(line)
    if not match:
        return line
    labels = labels_of(match[2])
    assert sum(len(key) + len(value) for key, value in labels.items()) <= 128, f'exemplar too long: {line}'
    assert set(labels) == {'trace_id', 'span_id'}, f'labels of an exemplar: {line}'
    exemplars.append((labels_of(SAMPLE.match(match[1])[2]), float(match[3])))
    return match[1]


def check_exemplars(exemplars, histograms):
    for labels, value in exemplars:
        le = labels.pop('le')
        bounds = [bound for bound, _ in histograms[tuple(labels.items())]['_bucket']]
        below = bounds.index(le) and float(bounds[bounds.index(le) - 1])
        assert below < value <= float(le), f'{labels}: exemplar {value} at {le}'


def check(text, is_openmetrics):
    types, helps, seen, closed = {}, set(), set(), set()
    histograms = collections.defaultdict(lambda: collections.defaultdict(lambda: collections.defaultdict(list)))
    names_of = {}
    current, exemplars = None, collections.defaultdict(list)
    lines = text.split('\n')
    assert lines.pop() == '', 'no newline at the end'
    if is_openmetrics:
        assert lines.pop() == '# EOF', 'no EOF'
    for line in lines:
        if line.startswith('# HELP '):
            name = line.split(' ')[2]
            assert name not in helps and name not in closed, f'family twice: {name}'
            helps.add(name)
            closed.add(name)
            current = name
        elif line.startswith('# TYPE '):
            _, _, name, kind = line.split(' ')
            assert name == current and name not in types, f'TYPE out of place: {line}'
            assert is_openmetrics or kind != 'info', line
            types[name] = kind
        elif line.startswith('# UNIT '):
            _, _, name, unit = line.split(' ')
            assert is_openmetrics and name == current and name.endswith('_' + unit), line
        else:
            if is_openmetrics:
                line = without_exemplar(line, exemplars[current])
            match = SAMPLE.match(line)
            assert match, f'no sample: {line}'
            name, labels, value = match[1], labels_of(match[2] or ''), float(match[3])
            suffix = next((s for s in SUFFIXES[types[current]][is_openmetrics] if name == current + s), None)
            assert suffix is not None, f'{line} is not of family {current}'
            key = (name, tuple(sorted((k, v) for k, v in labels.items() if v)))
            assert key not in seen, f'label set twice: {line}'
            seen.add(key)
            le = labels.pop('le', None)
            names = names_of.setdefault(current, set(labels))
            assert names == set(labels), f'{line}: other label names than before: {names}'
            if types[current] == 'histogram':
                part = histograms[current][tuple(labels.items())]
                part[suffix].append((le, value) if suffix == '_bucket' else value)
    for name, kind in types.items():
        assert kind != 'counter' or is_openmetrics or name.endswith('_total'), name
    for name, series in histograms.items():
        check_histogram(name, series)
        check_exemplars(exemplars[name], series)


def main():
    golden, case = sys.argv[1:]
    text = subprocess.run([golden, '--print', case], check=True, capture_output=True).stdout
    is_openmetrics = text.endswith(b'# EOF\n')
    check(text.decode('utf-8'), is_openmetrics)
    if not is_openmetrics:
        tool = subprocess.run(['promtool', 'check', 'metrics'], input=text, capture_output=True)
        said = (tool.stdout + tool.stderr).decode()
        assert tool.returncode == 0 and not said, f'promtool ({tool.returncode}): {said}'


main()
