#!/bin/sh
# Calls of curl, plain and streamed, in both APIs, all at once.
set -eu
ask() {
    curl --silent --show-error --fail-with-body --no-buffer --max-time 120 \
        --header "Authorization: Bearer $OPENAI_API_KEY" --header "Content-Type: application/json" \
        --data "$2" "$OPENAI_BASE_URL/$1" > "$3" || echo "$3: curl ended with status $?" >> problems
    grep -q -e '\[DONE\]' -e 'response.completed' -e '"service_tier"' "$3" || echo "$3: no answer" >> problems
}
: > problems
for n in 1 2 3 4; do
    messages="\"messages\": [{\"role\": \"user\", \"content\": \"Cat $n?\"}]"
    ask chat/completions "{\"model\": \"o4-mini\", $messages}" "chat-$n" &
    ask chat/completions "{\"model\": \"o4-mini\", $messages, \"stream\": true}" "chat-stream-$n" &
    ask responses "{\"model\": \"o4-mini\", \"input\": \"Cat $n?\"}" "response-$n" &
    ask responses "{\"model\": \"o4-mini\", \"input\": \"Cat $n?\", \"stream\": true}" "response-stream-$n" &
done
wait
{
    printf '{"asked": 16, "problems": ['
    sed 's/["\\]//g; s/.*/"&"/' problems | paste -sd, -
    printf ']}\n'
} > report.json
