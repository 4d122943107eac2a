#!/usr/bin/env bash
# The tracking server of one machine: runs in SQLite, artifacts beside it, only this machine may ask.
#
#   tracking/start.sh [FOLDER]          FOLDER holds mlflow.db and mlruns/; default: here
#   PORT=5001 tracking/start.sh         another port
set -euo pipefail

folder=${1:-.}
port=${PORT:-5000}
host=127.0.0.1

if ! command -v mlflow >/dev/null; then
    echo "error: mlflow is not on the PATH" >&2
    echo "Next step: make server, or: source .venv/bin/activate" >&2
    exit 2
fi
# Opening the port tells whether somebody listens there; on macOS, AirPlay does on 5000.
if (exec 3<>"/dev/tcp/$host/$port") 2>/dev/null; then
    echo "error: port $port of $host is in use" >&2
    echo "Next step: stop the program that uses it, or take another port: PORT=$((port + 1)) $0" >&2
    exit 2
fi

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
echo "MLflow:    http://$host:$port   (Ctrl-C stops it)"
echo "Database:  $folder/mlflow.db"
echo "In the terminal that runs the experiments:"
echo "    export MLFLOW_TRACKING_URI=http://$host:$port"

export MLFLOW_DISABLE_TELEMETRY=${MLFLOW_DISABLE_TELEMETRY:-true}
# Artifacts lie where a command without a server puts them: with the same folder, runs logged either
# way can be read both ways. A proxied root (mlflow-artifacts:) would need the server for ever.
exec mlflow server \
    --host "$host" --port "$port" \
    --backend-store-uri "sqlite:///$folder/mlflow.db" \
    --default-artifact-root "$folder/mlruns" --no-serve-artifacts
