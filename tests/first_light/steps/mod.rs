//! The steps in their order, one file a point.

mod a5_told;
mod f10_app_actions;
mod f10_looks;
mod f10_pages;
mod f10_settings_actions;
mod f2_sign_in;
mod f3_database;
mod f4_push;
mod f4_sample;
mod f5_https;
mod f5_live;
mod f5_renewal;
mod f6_backups;
mod f7_seen;
mod f8_crash;
pub mod f9_manners;

use crate::Step;
use crate::steps;

/// Every step; `#[ground]` ones are what the others build on.
#[rustfmt::skip]
pub fn all() -> Vec<Step> {
    steps![
        #[ground] f2_sign_in::f2_setup_link_opens_the_dashboard,
        f2_sign_in::f2_nobody_sees_nothing,
        f9_manners::f9_neighbours_are_planted,
        #[ground] f3_database::f3_one_command_starts_a_postgres,
        f3_database::f3_its_data_lies_on_our_volume,
        f3_database::f3_an_unknown_version_is_refused,
        f3_database::f3_attach_and_detach_reach_an_app_that_is_live,
        #[ground] f4_push::f4_a_push_is_live,
        f4_push::f4_the_app_has_its_database,
        f3_database::f3_psql_opens_at_a_terminal,
        f3_database::f4_run_and_exec_open_at_a_terminal,
        f4_sample::f4_the_sample_apps_own_tests_pass,
        f4_sample::f4_the_sample_app_logs_its_requests_as_json,
        f4_push::f4_wrong_signature_is_401,
        f4_push::f4_another_branch_is_ignored,
        f4_push::f4_a_repeated_delivery_starts_nothing,
        f4_push::f4_a_redelivery_after_a_failed_deploy_starts_one,
        f4_push::f4_a_new_webhook_secret_ends_the_old_one,
        f4_push::f4_too_large_an_event_is_413,
        f4_push::f4_no_request_fails_during_a_deploy,
        f4_push::f4_rollback,
        f4_push::f4_deploy_of_a_folder_streams_its_log,
        f4_push::f4_the_log_streams_live_to_the_browser,
        f4_push::f4_the_log_in_a_browser_outlives_the_daemon,
        f4_push::f4_deploy_of_an_image_behind_a_password,
        f4_push::f4_a_broken_dockerfile_changes_nothing,
        f4_push::f4_a_release_that_never_gets_healthy_changes_nothing,
        f5_https::f5_the_certificate_came_by_itself,
        f5_https::f5_plain_http_redirects,
        f5_https::f5_unknown_names_are_refused,
        f5_https::f5_a_private_name_has_the_box_s_own_certificate,
        f5_https::f5_another_app_s_domain_is_refused,
        f5_https::f5_routes_reload_and_a_bad_edit_changes_nothing,
        f5_https::f5_websockets_and_streams_pass,
        f5_live::f5_edited_limits_are_in_force_without_a_restart,
        f5_live::f5_a_pending_certificate_is_told,
        f5_renewal::f5_a_certificate_is_renewed_at_a_third_without_a_restart,
        f6_backups::f6_without_a_target_dumps_stay_on_the_box,
        f6_backups::f6_a_wrong_target_is_refused_with_its_remedy,
        f6_backups::f6_a_backup_is_stored_in_s3,
        f6_backups::f6_a_download_opens_with_pg_restore,
        f6_backups::f6_a_restore_brings_back_what_was_lost,
        f6_backups::f6_a_flipped_byte_is_found,
        f6_backups::f6_a_store_that_is_away_fails_the_backup,
        f7_seen::f7_the_overview_has_the_figures,
        f7_seen::f7_each_container_says_what_it_uses,
        f7_seen::f7_the_app_is_checked_by_itself,
        f8_crash::f8_a_killed_daemon_is_back_before_anybody_notices,
        f8_crash::f8_a_killed_replica_comes_back,
        f8_crash::f8_an_order_survives_a_kill_at_every_point,
        f6_backups::f6_a_failed_backup_is_tried_again_by_itself,
        f8_crash::f8_a_deploy_survives_a_kill_at_every_point,
        f8_crash::f8_a_new_database_survives_a_kill_at_every_point,
        f6_backups::f8_backups_and_restores_survive_a_kill_at_every_point,
        f10_looks::f10_every_action_works_without_javascript,
        f10_pages::f10_nothing_serious_in_either_theme_and_no_sideways_scroll,
        f9_manners::f9_every_container_of_ours_is_capped,
        f9_manners::f9_networks_come_from_our_own_range,
        f9_manners::f9_old_images_are_collected,
        f9_manners::f9_neighbours_are_untouched,
    ]
}
