using Pollux.Grains.Abstractions;

namespace Pollux.Grains.Core;

/// <summary>When a verify may begin, and whether the one before still runs. The comparison itself is between the hosts.</summary>
public static class VerifyCommand
{
    public static Problem? MayBegin(string module, bool run, ArbiterRecord record, long bytesPerSecondMax) =>
        bytesPerSecondMax is < 0 or > ResyncPolicy.BytesPerSecondLimit ? Problems.VerifyLimit(bytesPerSecondMax)
        : !run || record.Primary is null ? Problems.VerifyNotRunning(module)
        : record.InSync.Length < 2 ? Problems.VerifyNotMirrored(module, record.Primary)
        : null;

    /// <summary>The host that was to run it has not said that it has ended. One that is gone, or has become something else than it was, runs none.</summary>
    public static bool IsOpen(VerifyWish order, HostWord host) =>
        !order.Stop && host is { Connected: true, Report: { Role: "PRIM" } report } && (report.Verify?.OperationId == order.OperationId
            ? report.Verify.State == "running"
            : report.Verify is null || report.Verify.State == "running");

    public static Problem? Check(ResyncPolicy limits) =>
        limits is { BytesPerSecondMin: >= 0 and <= ResyncPolicy.BytesPerSecondLimit, BytesPerSecondMax: >= 0 and <= ResyncPolicy.BytesPerSecondLimit }
        && (limits.BytesPerSecondMax == 0 || limits.BytesPerSecondMax >= limits.BytesPerSecondMin)
            ? null
            : Problems.ResyncLimits(limits.BytesPerSecondMin, limits.BytesPerSecondMax);
}
