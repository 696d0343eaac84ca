-- read_wallet(wallet_id, user_id) no-writes
--
-- Read a wallet; with a user, only one that belongs to that user.
--
-- Returns {code, now, '', {wallet, fields}}

if not is_shown_to(user_id, 'wallet', wallet_id) then
    return {'wallet_not_found', at, ''}
end
return {'ok', at, '', {wallet_id, flat(read('wallet', wallet_id))}}
