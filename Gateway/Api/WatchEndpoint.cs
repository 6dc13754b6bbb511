using System.Net.ServerSentEvents;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text.Json;
using Pollux.Grains.Core;

namespace Pollux.Gateway.Api;

/// <summary>Status as a stream: level-triggered like everything else, a watcher that missed an event has it in the next.</summary>
internal static class WatchEndpoint
{
    private static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(500);

    /// <summary>An unchanged status is sent again after this, so that both ends notice a dead connection.</summary>
    private static readonly TimeSpan RepeatAfter = TimeSpan.FromSeconds(15);

    /// <summary>Each looks twice a second.</summary>
    private const int WatchersMax = 64;

    private static int _watchers;

    public static IResult Watch(
        string? cluster, StatusReader status, TimeProvider time, IHostApplicationLifetime lifetime, CancellationToken cancel)
    {
        if (cluster is not null && !GrainKey.IsName(cluster)) return ProblemResults.Of(Problems.ClusterUnknown(cluster));
        if (Volatile.Read(ref _watchers) >= WatchersMax) return ProblemResults.Of(ApiProblems.TooManyWatchers, StatusCodes.Status503ServiceUnavailable);
        return TypedResults.ServerSentEvents(StreamAsync(cluster, status, time, lifetime.ApplicationStopping, cancel));
    }

    private static async IAsyncEnumerable<SseItem<StatusDocument>> StreamAsync(
        string? cluster, StatusReader status, TimeProvider time, CancellationToken stopping, [EnumeratorCancellation] CancellationToken cancel)
    {
        Interlocked.Increment(ref _watchers);
        try
        {
            byte[] sent = [];
            var sentAt = time.GetTimestamp();
            while (!cancel.IsCancellationRequested && !stopping.IsCancellationRequested)
            {
                if (await status.ReadAsync(cluster) is not { } document) yield break;
                var hash = SHA256.HashData(JsonSerializer.SerializeToUtf8Bytes(WithoutClocks(document)));
                if (!hash.AsSpan().SequenceEqual(sent) || time.GetElapsedTime(sentAt) > RepeatAfter)
                {
                    yield return new SseItem<StatusDocument>(document, "status");
                    (sent, sentAt) = (hash, time.GetTimestamp());
                }
                await Task.Delay(LookEvery, time, cancel);
            }
        }
        finally
        {
            Interlocked.Decrement(ref _watchers);
        }
    }

    /// <summary>Signs of life alone are no change.</summary>
    private static StatusDocument WithoutClocks(StatusDocument status) => new(
    [
        .. status.Clusters.Select(cluster => cluster with
        {
            Hosts = [.. cluster.Hosts.Select(host => host with { LastSeenUnixMs = 0, Problems = [.. host.Problems.Select(problem => problem with { Cause = "" })] })],
            Modules = [.. cluster.Modules.Select(module => module with { Hosts = [.. module.Hosts.Select(host => host with { AsOfUnixMs = 0 })] })],
        }),
    ]);
}
