using System.Net.Sockets;
using System.Text;
using Pollux.DataPlane.Control;
using Pollux.DataPlane.Modules;

namespace Pollux.Tests.Unit.Hosts;

public sealed class LocalSocketTests
{
    [Fact]
    public async Task Whoever_asks_is_answered_and_one_who_says_too_little_or_too_much_holds_up_nobody()
    {
        var directory = Directory.CreateTempSubdirectory("pollux-socket-").FullName;
        try
        {
            var path = Path.Combine(directory, "host.sock");
            await using var socket = new LocalSocket(path, question => Task.FromResult(Encoding.UTF8.GetBytes($"heard {question.Length}")));
            using var silent = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await silent.ConnectAsync(new UnixDomainSocketEndPoint(path));
            using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(10));
            Assert.Equal("heard 0", await AskAsync(path, 0, patience.Token));
            Assert.Equal("heard 100", await AskAsync(path, 100, patience.Token));
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public void Questions_survive_the_way_and_anything_else_is_not_understood()
    {
        foreach (var question in (LocalQuestion[])[new AskStatus(), new AskVerify("c/m", true, 5), new AskVerifyStop("m"), new AskResyncLimits("c/m", 1, 2)])
            Assert.Equal(question, LocalQuestion.Read(question.Write()));
        Assert.IsType<AskStatus>(LocalQuestion.Read(default));
        foreach (var text in (string[])["status", "{}", """{"ask":"reboot"}""", """{"ask":"verify"}""", "[1]", "\0"])
            Assert.Null(LocalQuestion.Read(Encoding.UTF8.GetBytes(text)));
    }

    private static async Task<string> AskAsync(string path, int bytes, CancellationToken cancel) =>
        Encoding.UTF8.GetString(await LocalSocket.AskAsync(path, new byte[bytes], cancel));
}
