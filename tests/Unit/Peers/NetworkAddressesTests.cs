using Pollux.DataPlane.Peers;

namespace Pollux.Tests.Unit.Peers;

public sealed class NetworkAddressesTests
{
    [Theory]
    [InlineData("10.0.0.1", "10.1.0.1")]
    [InlineData("alpha", "alpha-link2", "fd00::1", "[fd00::2]")]
    [InlineData]
    public void Different_addresses_are_taken(params string[] addresses) => Assert.Null(NetworkAddresses.Refuse(addresses));

    [Theory]
    [InlineData("is there twice", "10.0.0.1", "10.0.0.1")]
    [InlineData("is there twice", "alpha", "ALPHA")]
    [InlineData("at most 4", "a", "b", "c", "d", "e")]
    [InlineData("port", "10.0.0.1:7410")]
    [InlineData("neither", "")]
    [InlineData("neither", "no such/name")]
    public void What_cannot_be_right_is_refused_with_the_reason(string reason, params string[] addresses) =>
        Assert.Contains(reason, NetworkAddresses.Refuse(addresses), StringComparison.Ordinal);

    [Fact]
    public void An_address_of_another_machine_is_refused()
    {
        Assert.Null(NetworkAddresses.RefuseForeign(["127.0.0.1"]));
        Assert.Null(NetworkAddresses.RefuseForeign(["localhost"]));
        // TEST-NET-1 (RFC 5737): nobody has it.
        Assert.Contains("not an address of this machine", NetworkAddresses.RefuseForeign(["127.0.0.1", "192.0.2.1"]), StringComparison.Ordinal);
    }
}
