namespace Pollux.Gateway.Sessions;

/// <summary>A grain call that threw. Grains say no by results, so an exception — a time limit, the grains' host, their storage, a lost ETag —
/// says only that the outcome is not known: look, or repeat.</summary>
internal static class GrainFailure
{
    /// <summary>False if the caller itself gave up.</summary>
    public static bool IsOne(Exception exception, CancellationToken cancel = default) =>
        exception is not OperationCanceledException || !cancel.IsCancellationRequested;
}
