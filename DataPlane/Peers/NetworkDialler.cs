using System.Net;
using System.Net.Sockets;

namespace Pollux.DataPlane.Peers;

/// <summary>Connects to the first of several addresses that answers, in an order of preference.</summary>
public static class NetworkDialler
{
    /// <summary>A network that has not answered by then gets company: some round trips of a LAN, and little beside any detection time.</summary>
    public static readonly TimeSpan Stagger = TimeSpan.FromMilliseconds(200);

    /// <param name="networks">Numbers and addresses, the preferred one first.</param>
    /// <param name="connect">Connects a socket to one; nothing is left over when it fails.</param>
    /// <exception cref="SocketException">None answers; if one of them refused, that: its machine is there and nobody listens.</exception>
    public static async Task<(Socket Socket, int Network)> ConnectAsync(
        IReadOnlyList<(int Number, string Address)> networks, Func<EndPoint, CancellationToken, Task<Socket>> connect, CancellationToken cancel)
    {
        using var others = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var tries = new List<Task<(Socket Socket, int Network)>>();
        Exception? fault = null;
        try
        {
            for (var next = 0; next < networks.Count || tries.Count > 0;)
            {
                if (next < networks.Count)
                    tries.Add(TryAsync(networks[next++], connect, others.Token));
                var ended = await EndOfOneAsync(tries, next < networks.Count ? Stagger : Timeout.InfiniteTimeSpan, cancel).ConfigureAwait(false);
                if (ended is null)
                    continue;
                tries.Remove(ended);
                try
                {
                    return await ended.ConfigureAwait(false);
                }
                catch (Exception e) when (e is SocketException or FormatException)
                {
                    fault = fault is SocketException { SocketErrorCode: SocketError.ConnectionRefused } ? fault : e;
                }
            }

            throw fault ?? new IOException("no address of the peer is known yet");
        }
        finally
        {
            await others.CancelAsync().ConfigureAwait(false);
            foreach (var late in tries)
                _ = late.ContinueWith(static task => task.Result.Socket.Dispose(), CancellationToken.None,
                    TaskContinuationOptions.OnlyOnRanToCompletion | TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        }
    }

    private static async Task<(Socket, int)> TryAsync(
        (int Number, string Address) network, Func<EndPoint, CancellationToken, Task<Socket>> connect, CancellationToken cancel) =>
        (await connect(PeerAddress.Parse(network.Address), cancel).ConfigureAwait(false), network.Number);

    /// <returns>Null when none has ended in time.</returns>
    private static async Task<Task<(Socket Socket, int Network)>?> EndOfOneAsync(
        List<Task<(Socket Socket, int Network)>> tries, TimeSpan limit, CancellationToken cancel)
    {
        var first = Task.WhenAny(tries);
        return await Task.WhenAny(first, Task.Delay(limit, cancel)).ConfigureAwait(false) == first ? await first.ConfigureAwait(false)
            : cancel.IsCancellationRequested ? throw new OperationCanceledException(cancel)
            : null;
    }
}
