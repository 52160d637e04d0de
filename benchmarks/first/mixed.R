# One fit of lme4 or glmmTMB: Rscript mixed.R PACKAGE PROBLEM data.csv; prints seconds and scales.
given <- commandArgs(trailingOnly = TRUE)
suppressMessages(library(given[1], character.only = TRUE))
data <- read.csv(given[3])
data$task <- factor(data$task)
columns <- grep("^x", names(data), value = TRUE)
slopes <- paste0("(0 + ", columns, " | task)", collapse = " + ")
formula <- as.formula(paste("y ~ 0 +", paste(columns, collapse = " + "), "+", slopes))
is_binary <- given[2] == "logistic"
began <- proc.time()[["elapsed"]]
if (given[1] == "glmmTMB") {
  fit <- glmmTMB(formula, data, family = if (is_binary) binomial() else gaussian())
  scales <- vapply(VarCorr(fit)$cond, function(v) attr(v, "stddev")[[1]], numeric(1))
} else {
  fit <- if (is_binary) glmer(formula, data, family = binomial()) else
    lmer(formula, data, REML = FALSE)
  scales <- vapply(VarCorr(fit), function(v) attr(v, "stddev")[[1]], numeric(1))
}
seconds <- proc.time()[["elapsed"]] - began
cat(sprintf('{"fit": %.3f, "scales": [%s]}\n', seconds, paste(sprintf("%.6f", scales), collapse = ", ")))
