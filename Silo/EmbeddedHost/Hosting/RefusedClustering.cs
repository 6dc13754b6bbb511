namespace Orleans.Hosting;

/// <summary>
/// The clustering options of Orleans, which an embedded build refuses when it compiles: the host has one process, and
/// scale-out is Orleans' job.
/// </summary>
public static class RefusedClustering
{
    internal const string Reason =
        "The embedded host is one process without membership or network. Build with OrleansHost=Microsoft for a cluster of silos.";

    [Obsolete(Reason, error: true)]
    public static ISiloBuilder UseLocalhostClustering(this ISiloBuilder builder, params object?[] options) => throw new NotSupportedException(Reason);

    [Obsolete(Reason, error: true)]
    public static ISiloBuilder UseAdoNetClustering(this ISiloBuilder builder, Action<object> configure) => throw new NotSupportedException(Reason);

    [Obsolete(Reason, error: true)]
    public static ISiloBuilder UseDevelopmentClustering(this ISiloBuilder builder, params object?[] options) => throw new NotSupportedException(Reason);
}
