-- deposit(operation_id, fingerprint, kept_ms, wallet_id, amount, owner, token, keep) recorded
--
-- Add money to a wallet of any status.
--
-- amount  digits, 1 to 2^53 - 1; the balance and possible refunds have to stay within that, too
--
-- Returns {code, now, token, {wallet, fields}}

require_amount(amount, 1)

local wallet = read('wallet', wallet_id)
if not wallet then
    return {'wallet_not_found', at, ''}
end
local refusal = lease_refusal(wallet, owner, token)
if refusal then
    return {refusal, at, ''}
end

local function reply(code)
    return {code, at, close_lease(wallet_id, wallet, owner, keep), {wallet_id, flat(wallet)}}
end

if tonumber(amount) > MAX_AMOUNT - tonumber(wallet.ledger) then
    return reply('balance_too_large')
end
require_integer(wallet.balance)
require_integer(wallet.ledger)
redis.call('LLEN', key('entries', wallet_id)) -- it has to be a list before anything is written
wallet.balance = int(redis.call('HINCRBY', key('wallet', wallet_id), 'balance', amount))
redis.call('HINCRBY', key('wallet', wallet_id), 'ledger', amount)
local entry = append('wallet.deposited', wallet_id, 'amount', amount, 'balance', wallet.balance)
redis.call('RPUSH', key('entries', wallet_id), entry)
return record_reply(operation_id, fingerprint, kept_ms, reply('ok'))
