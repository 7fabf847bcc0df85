-- 0001 up

CREATE TABLE user_invitations (
    id CHAR(32) NOT NULL
    tenant_id INTEGER NOT NULL
    invited_by_id INTEGER
    accepted_by_id INTEGER
    version INTEGER DEFAULT 1 NOT NULL
    number INTEGER DEFAULT 1 NOT NULL
    link_number INTEGER DEFAULT 1 NOT NULL
    email VARCHAR(254)
    email_key VARCHAR(254)
    role VARCHAR(64) NOT NULL
    token_hash VARCHAR(64) NOT NULL
    token_nonce VARCHAR(64) NOT NULL
    previous_token_hash VARCHAR(64)
    link_shown BOOLEAN NOT NULL
    status VARCHAR(16) NOT NULL
    pending_key VARCHAR(64)
    inviter_ref VARCHAR(255)
    made_for VARCHAR(64)
    message TEXT
    details JSON
    locale VARCHAR(35)
    lifetime INTEGER NOT NULL
    expires_at DATETIME NOT NULL
    accepted_at DATETIME
    reminded_at DATETIME
    link_requested_at DATETIME
    closed_at DATETIME
    created_at DATETIME NOT NULL
    updated_at DATETIME NOT NULL
    PRIMARY KEY (id)
    CONSTRAINT ck_user_invitations_pending_key CHECK ((status = 'pending') = (pending_key IS NOT NULL))
    CONSTRAINT ck_user_invitations_status CHECK (status IN ('pending', 'accepted', 'declined', 'revoked', 'expired'))
    CONSTRAINT fk_user_invitations_accepted_by_id FOREIGN KEY(accepted_by_id) REFERENCES users (id) ON DELETE SET NULL
    CONSTRAINT fk_user_invitations_invited_by_id FOREIGN KEY(invited_by_id) REFERENCES users (id) ON DELETE SET NULL
    CONSTRAINT fk_user_invitations_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
    CONSTRAINT uq_user_invitations_pending_key UNIQUE (pending_key)
    CONSTRAINT uq_user_invitations_token_hash UNIQUE (token_hash)
);

CREATE INDEX ix_user_invitations_accepted_by_id ON user_invitations (accepted_by_id);

CREATE INDEX ix_user_invitations_closed_at ON user_invitations (closed_at);

CREATE INDEX ix_user_invitations_invited_by_id ON user_invitations (invited_by_id);

CREATE INDEX ix_user_invitations_previous_token_hash ON user_invitations (previous_token_hash);

CREATE INDEX ix_user_invitations_status_expires_at ON user_invitations (status, expires_at);

CREATE INDEX ix_user_invitations_tenant_id_created_at ON user_invitations (tenant_id, created_at, id);

CREATE INDEX ix_user_invitations_tenant_id_email_key ON user_invitations (tenant_id, email_key);

CREATE INDEX ix_user_invitations_tenant_id_status ON user_invitations (tenant_id, status, expires_at);

-- 0001 down

DROP TABLE user_invitations;

-- 0002 up

CREATE TABLE user_invitation_events (
    id CHAR(32) NOT NULL
    tenant_id INTEGER NOT NULL
    actor_id INTEGER
    invitation_id CHAR(32) NOT NULL
    type VARCHAR(32) NOT NULL
    at DATETIME NOT NULL
    remote_addr VARCHAR(45)
    user_agent VARCHAR(512)
    details JSON
    personal_at DATETIME
    repeat_key VARCHAR(64)
    times INTEGER DEFAULT 1 NOT NULL
    last_at DATETIME
    PRIMARY KEY (id)
    CONSTRAINT fk_user_invitation_events_invitation_id FOREIGN KEY(invitation_id) REFERENCES user_invitations (id) ON DELETE CASCADE
    CONSTRAINT fk_user_invitation_events_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
    CONSTRAINT uq_user_invitation_events_repeat_key UNIQUE (repeat_key)
);

CREATE INDEX ix_user_invitation_events_invitation_id_at ON user_invitation_events (invitation_id, at, id);

CREATE INDEX ix_user_invitation_events_personal_at ON user_invitation_events (personal_at);

-- 0002 down

DROP TABLE user_invitation_events;

-- 0003 up

CREATE TABLE user_invitation_deliveries (
    id CHAR(32) NOT NULL
    invitation_id CHAR(32) NOT NULL
    version INTEGER DEFAULT 1 NOT NULL
    link_number INTEGER DEFAULT 1 NOT NULL
    kind VARCHAR(32) NOT NULL
    state VARCHAR(16) NOT NULL
    maker VARCHAR(33)
    fence CHAR(32)
    attempts INTEGER NOT NULL
    next_attempt_at DATETIME
    last_attempt_at DATETIME
    leased_until DATETIME
    last_error VARCHAR(200)
    sent_at DATETIME
    created_at DATETIME NOT NULL
    PRIMARY KEY (id)
    CONSTRAINT ck_user_invitation_deliveries_leased_until CHECK ((state = 'sending') = (leased_until IS NOT NULL))
    CONSTRAINT ck_user_invitation_deliveries_next_attempt_at CHECK ((state = 'queued') = (next_attempt_at IS NOT NULL))
    CONSTRAINT ck_user_invitation_deliveries_state CHECK (state IN ('queued', 'sending', 'sent', 'deferred', 'delivered', 'bounced', 'complained', 'failed', 'cancelled'))
    CONSTRAINT fk_user_invitation_deliveries_invitation_id FOREIGN KEY(invitation_id) REFERENCES user_invitations (id) ON DELETE CASCADE
);

CREATE INDEX ix_user_invitation_deliveries_invitation_id ON user_invitation_deliveries (invitation_id, version);

CREATE INDEX ix_user_invitation_deliveries_leased_until ON user_invitation_deliveries (state, leased_until);

CREATE INDEX ix_user_invitation_deliveries_next_attempt_at ON user_invitation_deliveries (state, next_attempt_at);

-- 0003 down

DROP TABLE user_invitation_deliveries;

-- 0004 up

CREATE TABLE user_invitation_suppressions (
    id CHAR(32) NOT NULL
    tenant_id INTEGER NOT NULL
    pseudonym VARCHAR(64) NOT NULL
    reason VARCHAR(16) NOT NULL
    confirmed_by CHAR(32)
    created_at DATETIME NOT NULL
    PRIMARY KEY (id)
    CONSTRAINT ck_user_invitation_suppressions_reason CHECK (reason IN ('never_again', 'reported', 'bounced', 'complained'))
    CONSTRAINT fk_user_invitation_suppressions_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
    CONSTRAINT uq_user_invitation_suppressions_pseudonym UNIQUE (pseudonym, reason)
);

CREATE INDEX ix_user_invitation_suppressions_tenant_id ON user_invitation_suppressions (tenant_id, created_at);

-- 0004 down

DROP TABLE user_invitation_suppressions;

-- 0005 up

CREATE TABLE user_invitation_requests (
    key_hash VARCHAR(64) NOT NULL
    body_hash VARCHAR(64) NOT NULL
    status INTEGER NOT NULL
    answer JSON
    expires_at DATETIME NOT NULL
    PRIMARY KEY (key_hash)
);

CREATE INDEX ix_user_invitation_requests_expires_at ON user_invitation_requests (expires_at);

-- 0005 down

DROP TABLE user_invitation_requests;
