-- send_dead_again(webhook_id)
--
-- Let a batch of the dead deliveries of a webhook wait again.
--
-- Returns {code, now, '', [how many]}: 'ok', or 'more' if there may be others

local BATCH = 100

local members = redis.call('ZRANGE', index_of(webhook_id, 'dead'), 0, BATCH - 1)
for _, member in ipairs(members) do
    local entry_id = entry_of(member)
    revive(webhook_id, entry_id, (fields('delivery', delivery_name(webhook_id, entry_id), 'subject')))
end
return {#members == BATCH and 'more' or 'ok', at, '', {int(#members)}}
