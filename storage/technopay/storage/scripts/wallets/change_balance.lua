-- change_balance(operation_id, fingerprint, kept_ms, wallet_id, amount, kind, reference, note, by, owner, token, keep) recorded
--
-- Deposit, withdraw or adjust money, in a wallet of any status.
--
-- amount     digits, -(2^53 - 1) to 2^53 - 1, not 0; the balance has to stay 0 or more, and the balance with possible
--            refunds within that bound, too
-- kind       'deposited', 'withdrawn' or 'adjusted'
-- reference  of a deposit, or ''; each is used once in a wallet
-- note, by   text and operator, or ''
--
-- Returns {code, now, token, {wallet, fields}, details}: 'replayed' for a reference with the same amount;
-- 'reference_used' with the `entry` that has it, {id} for one that left the store; 'insufficient_funds' with `required` and `available`

require_change(amount)
assert(kind == 'adjusted' or (kind == 'deposited') == (tonumber(amount) > 0), 'a change has to have the sign of its kind')
local wallet = read('wallet', wallet_id)
if not wallet then
    return {'wallet_not_found', at, ''}
end
if reference ~= '' then
    -- Before the lease, as every reply to a repeat.
    local entry, earlier = string.match(redis.call('HGET', key('deposits', wallet_id), reference) or '', '^(%S+) (%S+)$')
    if entry then
        local details = {'entry', redis.call('XRANGE', journal, entry, entry)[1] or {entry}}
        return {earlier == amount and 'replayed' or 'reference_used', at, '', {wallet_id, flat(wallet)}, details}
    end
end
local refusal = lease_refusal(wallet, owner, token)
if refusal then
    return {refusal, at, ''}
end

local function reply(code, details)
    return {code, at, close_lease(wallet_id, wallet, owner, keep), {wallet_id, flat(wallet)}, details or {}}
end

require_integer(wallet.balance)
require_integer(wallet.ledger)
if tonumber(amount) > MAX_AMOUNT - tonumber(wallet.ledger) then
    return reply('balance_too_large')
elseif tonumber(wallet.balance) + tonumber(amount) < 0 then
    return reply('insufficient_funds', {'required', string.sub(amount, 2), 'available', wallet.balance})
end
local number = redis.call('LLEN', key('entries', wallet_id)) + 1
wallet.balance = int(redis.call('HINCRBY', key('wallet', wallet_id), 'balance', amount))
redis.call('HINCRBY', key('wallet', wallet_id), 'ledger', amount)
local entry_fields = {'amount', amount, 'balance', wallet.balance}
if kind ~= 'deposited' then
    add_given(entry_fields, 'version', int(number)) -- only deposits are no events
end
add_given(entry_fields, 'reference', reference)
add_given(entry_fields, 'note', note)
add_given(entry_fields, 'by', by)
local entry = append('wallet.' .. kind, wallet_id, unpack(entry_fields))
redis.call('RPUSH', key('entries', wallet_id), entry)
if reference ~= '' then
    redis.call('HSET', key('deposits', wallet_id), reference, entry .. ' ' .. amount)
end
return record_reply(operation_id, fingerprint, kept_ms, reply('ok'))
