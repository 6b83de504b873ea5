-- Deliveries of git hosts whose deploy is no longer kept: what was deployed once is not deployed again
-- because somebody sends its event a second time. The newest 10,000 an app.
CREATE TABLE taken_deliveries (
    app_id    INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    delivery  TEXT NOT NULL,
    deploy_id INTEGER NOT NULL,
    PRIMARY KEY (app_id, delivery)
) STRICT, WITHOUT ROWID;
CREATE INDEX taken_deliveries_by_deploy ON taken_deliveries (app_id, deploy_id);
