-- user: a user without the wallets, of which there can be many.

local function read_user(id)
    local status, email, phone, created_at = fields('user', id, 'status', 'email', 'phone', 'created_at')
    if not status then
        return nil
    end
    return {status = status, email = email or nil, phone = phone or nil, created_at = created_at}
end
