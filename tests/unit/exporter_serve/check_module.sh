#!/bin/sh
# What libprofshim-exporter.so gives to whoever opens it: the functions of exporter/exporter.h and nothing that
# could take over a name of the program. check_module.sh LIBRARY; prints TAP.
exported=$(nm -D --defined-only "$1" | awk '{ print $3 }' | sort | tr '\n' ' ')
wanted='profshim_exporter_finish profshim_exporter_report profshim_exporter_serve '

echo 1..1
if [ "$exported" = "$wanted" ]; then
	echo 'ok 1 - the module exports its functions and nothing else'
else
	echo 'not ok 1 - the module exports its functions and nothing else'
	echo "# exported: $exported"
	exit 1
fi
