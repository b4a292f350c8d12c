#!/bin/sh
# Prints NAME.conf(5): a frame around what `PROGRAM -x conf` says.
#   conf-page.sh NAME PROGRAM
set -eu
name=$1
cat <<END
.Dd November 24, 2026
.Dt $(echo "$name" | tr a-z A-Z).CONF 5
.Os LeoFS
.Sh NAME
.Nm $name.conf
.Nd settings of $name
.Sh DESCRIPTION
One YAML mapping; dots in a name stand for nested mappings.
Unknown and duplicate names, wrong types and values out of range are errors
with file and line;
.Ic $name -c FILE -n
checks a file.
.Sh SETTINGS
END
"$2" -x conf
cat <<END
.Sh SEE ALSO
.Xr $name 8
END
