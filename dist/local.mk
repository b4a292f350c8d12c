EXTRA_DIST += %D%/packages.sh %D%/leofs.service %D%/leofs.sysusers \
	%D%/leofs.cron %D%/leofs.logrotate
